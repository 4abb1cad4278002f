"""A plain asyncio worker: files are compressed, some at a time, and each that is done is counted.

    DATABASE_URL=postgresql://… python asyncio_worker.py FILE… --user-id UUID

The tasks share one job. A file that fails is counted and stops nothing; a pause holds every task at its next
`advance`, and a cancel ends them all.
"""

import argparse
import asyncio
import gzip
import shutil
import sys
from pathlib import Path
from uuid import UUID

from progress_service import InvalidJob, Job, JobCancelled, LeaseLost, StoreUnavailable, UnknownUser


async def compress_all(paths: list[Path], user_id: UUID, at_once: int) -> None:
    """Write a `.gz` beside each file."""
    async with Job.start(user_id=user_id, total=len(paths), label="Compress files") as job:
        rest = iter(paths)

        async def work() -> None:
            # All tasks take from one iterator, so each file has one of them, and a slow one holds up nobody.
            for path in rest:
                try:
                    await asyncio.to_thread(compress, path)
                except OSError as error:
                    print(f"{path.name}: {error.strerror}", file=sys.stderr)
                    await job.advance(failed=1)
                else:
                    await job.advance(completed=1)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(work())
    print(f"{job.progress.completed} compressed, {job.progress.failed} failed")


def compress(path: Path) -> None:
    """Compress one file. What bears the final name is whole."""
    unfinished = path.with_name(f"{path.name}.part")
    with path.open("rb") as source, gzip.open(unfinished, "wb") as result:
        shutil.copyfileobj(source, result)
    unfinished.rename(path.with_name(f"{path.name}.gz"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compress files, with live progress.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--user-id", type=UUID, required=True, help="whose screens show it")
    parser.add_argument(
        "--at-once", type=int, default=4, metavar="FILES", help="how many at the same time (4)"
    )
    given = parser.parse_args()
    try:
        asyncio.run(compress_all(given.files, given.user_id, max(1, given.at_once)))
    except* (InvalidJob, JobCancelled, LeaseLost, StoreUnavailable, UnknownUser) as errors:
        sys.exit(str(errors.exceptions[0]))
