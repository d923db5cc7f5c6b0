"""Owns the processes of one installation: starts them in order, restarts what dies, stops them in order.

What a worker is promised: ``python -m backstay.worker --fd N --slot K``, where N is the shared listening socket (it
listens already) and K counts from 0; every setting as ``BACKSTAY_*`` in the environment, with ``BACKSTAY_DATABASE_URL``
of the Postgres that runs and ``BACKSTAY_LOCAL_URL`` and ``BACKSTAY_LOCAL_KEY`` of the local models;
``PROMETHEUS_MULTIPROC_DIR``, a folder that was empty before the first worker. SIGTERM asks it to drain, SIGHUP to read
the policy again. Its standard input is a pipe that ends when the supervisor is gone: then it drains as well.

What the process that runs jobs is promised: ``python -m backstay.job_runner`` and the same environment, once the
workers are ready. It is asked to drain together with them.

What the shipping process is promised: ``python -m backstay.shipping`` and the same environment, once the workers are
ready. When the last worker has ended, the end of its standard input asks it to ship what the journals hold, even where
it has hardly started; SIGTERM does so too, once it listens.
"""

from backstay.supervisor.supervise import supervise
from backstay.supervisor.types import Component, Event, State

__all__ = ["Component", "Event", "State", "supervise"]
