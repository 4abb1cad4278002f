"""Live progress of long jobs: from a PostgreSQL row to any web page.

This is what a worker needs; the service itself is started by `progress-service serve`.
"""

from progress_service.jobs.reporter import Job, JobTaken
from progress_service.jobs.store import InvalidJob, StoreUnavailable, UnknownUser

__all__ = ["InvalidJob", "Job", "JobTaken", "StoreUnavailable", "UnknownUser"]
