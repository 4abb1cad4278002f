"""Live progress of long jobs: from a PostgreSQL row to any web page.

This is what a worker needs; the service itself is started by `progress-service serve`.
"""

from progress_service.jobs.claims import AlreadyRunning, JobEnded, JobTaken
from progress_service.jobs.outcomes import JobCancelled
from progress_service.jobs.pool import InvalidJob, StoreUnavailable, UnknownUser
from progress_service.jobs.reporter import Job
from progress_service.jobs.scribe import LeaseLost
from progress_service.jobs.threaded import ThreadedJob, in_thread
from progress_service.jobs.track import track, track_sync

__all__ = [
    "AlreadyRunning",
    "InvalidJob",
    "Job",
    "JobCancelled",
    "JobEnded",
    "JobTaken",
    "LeaseLost",
    "StoreUnavailable",
    "ThreadedJob",
    "UnknownUser",
    "in_thread",
    "track",
    "track_sync",
]
