"""A Celery task whose job outlives its worker: the task's id is the job's, so that every delivery goes on.

    export DATABASE_URL=postgresql://… CELERY_BROKER_URL=redis://…
    celery --app celery_task worker                       # in one terminal
    python celery_task.py FILE… --user-id UUID            # in another; prints the job's id

Without CELERY_BROKER_URL the queue is a folder beside this file. Kill the process that works: Celery delivers
the task again, and when the lease of the dead one is over, it goes on at the cursor. A job that a person has
cancelled stays cancelled, however often its task is delivered.
"""

import argparse
import hashlib
import os
from pathlib import Path
from uuid import UUID

from celery import Celery, Task
from celery.utils.log import get_task_logger

from progress_service import Job, JobCancelled, JobEnded, JobTaken, LeaseLost, StoreUnavailable, in_thread

LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "30"))
FOLDERS = ("data_folder_in", "data_folder_out", "control_folder")
logger = get_task_logger(__name__)

app = Celery("celery_task", broker=os.environ.get("CELERY_BROKER_URL", "filesystem://"))
if app.conf.broker_url == "filesystem://":
    queue = Path(os.environ.get("CELERY_QUEUE_FOLDER", Path(__file__).with_name(".queue")))
    queue.mkdir(exist_ok=True)
    app.conf.broker_transport_options = dict.fromkeys(FOLDERS, str(queue))


# Acknowledged only when done, and put back when its process dies, a task is delivered until it is done.
@app.task(name="checksums", bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=None)
def checksums(self: Task, paths: list[str], user_id: str) -> None:
    """Write a `.sha256` beside each file. What was done since the cursor was saved is done twice: no harm."""
    begin = Job.start(
        user_id=user_id, total=len(paths), job_id=self.request.id, or_resume=True, lease_seconds=LEASE_SECONDS
    )
    try:
        with in_thread(begin) as job:
            done = job.cursor or 0
            for place, path in enumerate(paths[done:], done + 1):
                try:
                    checksum = hashlib.sha256(Path(path).read_bytes()).hexdigest()
                    Path(f"{path}.sha256").write_text(f"{checksum}\n", encoding="ascii")
                except OSError as error:
                    logger.warning("%s: %s", path, error.strerror)
                    job.advance(failed=1, cursor=place)
                else:
                    job.advance(completed=1, cursor=place)
    except (JobCancelled, JobEnded, LeaseLost) as error:
        logger.info("this delivery is done with: %s", error)
    except (JobTaken, StoreUnavailable) as error:
        # The worker before may be alive, or PostgreSQL is away: this delivery comes too early.
        raise self.retry(exc=error, countdown=LEASE_SECONDS) from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Have a worker make checksums of files, with live progress.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--user-id", type=UUID, required=True, help="whose screens show it")
    given = parser.parse_args()
    print(checksums.delay([str(path.absolute()) for path in given.files], str(given.user_id)).id)
