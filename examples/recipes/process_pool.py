"""A pool of processes: children read web servers' logs, and the parent counts the logs that are done.

    DATABASE_URL=postgresql://… python process_pool.py FILE… --user-id UUID

Children return what they found and know nothing of the job: one reporter is enough, and a connection must not
be shared across processes. A log that is none is counted as failed. A child that dies (out of memory, say)
fails the job with `BrokenProcessPool`.
"""

import argparse
import re
import signal
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

from progress_service import (
    InvalidJob,
    Job,
    JobCancelled,
    LeaseLost,
    StoreUnavailable,
    UnknownUser,
    in_thread,
)

STATUS = re.compile(r'" (\d{3}) (?:\d+|-)')


def statuses(path: Path) -> Counter[str]:
    """How often each HTTP status occurs in an access log; this runs in a child."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        found = Counter(match[1] for line in lines if (match := STATUS.search(line)))
    if not found:
        raise ValueError("no line is in the Common Log Format")
    return found


def ignore_ctrl_c() -> None:
    """Leave it to the parent, whose job it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def statuses_of_all(paths: list[Path], user_id: UUID, pool: ProcessPoolExecutor) -> Counter[str]:
    """The statuses in all logs."""
    found = Counter[str]()
    with in_thread(Job.start(user_id=user_id, total=len(paths), label="Read logs")) as job:
        futures = {pool.submit(statuses, path): path for path in paths}
        try:
            for future in as_completed(futures):
                try:
                    found += future.result()
                except (OSError, ValueError) as error:
                    print(f"{futures[future].name}: {error}", file=sys.stderr)
                    job.advance(failed=1)
                else:
                    job.advance(completed=1)
        finally:
            # After a cancel, what has not begun need not begin.
            pool.shutdown(wait=False, cancel_futures=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count the statuses in access logs, with live progress.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--user-id", type=UUID, required=True, help="whose screens show it")
    parser.add_argument("--processes", type=int, help="how many at the same time (one for each processor)")
    given = parser.parse_args()
    # Spawned, since a fork would copy locks that other threads hold.
    pool = ProcessPoolExecutor(given.processes, get_context("spawn"), ignore_ctrl_c)
    try:
        for status, times in sorted(statuses_of_all(given.files, given.user_id, pool).items()):
            print(f"{status} {times:8,}")
    except (InvalidJob, JobCancelled, LeaseLost, StoreUnavailable, UnknownUser) as error:
        sys.exit(str(error))
