"""The process that hears of changes, for `writers`: one of our feeds with its board, or a plain listener.

    python -m loadtest.hearing row|notify|wal          (DATABASE_URL names the database)

It prints a line once everything that is committed from then on will be heard. Then each line of its input is
answered with one line of JSON: how far each job is, what was missed, and the processor time it took.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import asyncpg

from progress_service.core.board import Board
from progress_service.core.events import Fact, FeedState, FeedTurned, SnapshotTaken
from progress_service.feeds.following import FollowingFeed
from progress_service.feeds.notify import NotifyFeed
from progress_service.feeds.wal import WalFeed
from progress_service.parts import monotonic_clock

LINGER_SECONDS = 5.0
ROW_CHANNEL = "job_changed"
FEEDS: dict[str, type[FollowingFeed]] = {"notify": NotifyFeed, "wal": WalFeed}


async def row(dsn: str) -> None:
    """What a tutorial's service does with each notification: decode it, and keep what it says."""
    completed: dict[str, int] = {}

    def take(*notification: Any) -> None:
        job = json.loads(notification[-1])
        completed[job["id"]] = job["progress"]["completed"]

    connection = await asyncpg.connect(dsn)
    await connection.add_listener(ROW_CHANNEL, take)
    await _answer(lambda: {"completed": completed})
    await connection.close()


async def ours(feed: FollowingFeed) -> None:
    """A feed of the service, and the board that it keeps."""
    board = Board(linger_seconds=LINGER_SECONDS)
    users: set[str] = set()
    outages = 0
    is_live = anyio.Event()

    def accept(told: Sequence[Fact | FeedTurned]) -> None:
        nonlocal outages
        for fact in told:
            match fact:
                case FeedTurned():
                    outages += fact.state is FeedState.LOST
                    if fact.state is FeedState.LIVE:
                        is_live.set()
                    continue
                case SnapshotTaken():
                    users.update(report.job.user_id for report in fact.reports)
            board.apply(fact)

    def state() -> dict[str, Any]:
        jobs = [job for user_id in users for job in board.view(user_id)]
        return {
            "completed": {job.id: job.progress.completed for job in jobs if job.progress.completed},
            "faults": outages + feed.ledger.healed,
        }

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, accept)
        await is_live.wait()
        await _answer(state)
        tasks.cancel_scope.cancel()


async def _answer(state: Callable[[], dict[str, Any]]) -> None:
    """Say that it can begin, and answer until nobody asks any more."""
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(questions), sys.stdin
    )
    print("ready", flush=True)
    while await questions.readline():
        print(json.dumps({"faults": 0, "seconds": time.process_time(), **state()}), flush=True)


async def _run(kind: str) -> None:
    dsn = os.environ["DATABASE_URL"]
    if kind == "row":
        await row(dsn)
    else:
        await ours(FEEDS[kind](dsn, clock=monotonic_clock, linger_seconds=LINGER_SECONDS))


if __name__ == "__main__":
    anyio.run(_run, sys.argv[1], backend_options={"use_uvloop": True})
