"""Calls that are made later: files, batches, and single calls whose answer is fetched or sent on.

Owns what is to be done, who does it, and what came of it. Must never make a call twice that was answered.
"""

from backstay.jobs.batches import Batches
from backstay.jobs.files import Files
from backstay.jobs.runner import Runner
from backstay.jobs.store import MERGE_JOBS, JobStore
from backstay.jobs.types import Answered, Job, JobEnd
from backstay.jobs.upkeep import Upkeep

__all__ = ["MERGE_JOBS", "Answered", "Batches", "Files", "Job", "JobEnd", "JobStore", "Runner", "Upkeep"]
