"""Calls that are made later: files, batches, and single calls whose answer is fetched or sent on.

Owns what is to be done, who does it, and what came of it. Must never make a call twice that was answered.
"""

from backstay.jobs.batches import Batches
from backstay.jobs.delivery import Deliverer, WebhookSecrets
from backstay.jobs.files import Files
from backstay.jobs.later import Later
from backstay.jobs.runner import Runner
from backstay.jobs.store import MERGE_JOBS, JobStore
from backstay.jobs.types import Answered, Job, JobEnd
from backstay.jobs.upkeep import Upkeep

__all__ = [
    "MERGE_JOBS",
    "Answered",
    "Batches",
    "Deliverer",
    "Files",
    "Job",
    "JobEnd",
    "JobStore",
    "Later",
    "Runner",
    "Upkeep",
    "WebhookSecrets",
]
