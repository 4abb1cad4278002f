"""A fail-over may lose commits. What people are shown then goes back with the database."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio
import pytest

from progress_service.core.events import FeedState
from progress_service.jobs.schema import apply_schema, schema_text
from tests.conftest import HASTY
from tests.failover import FailoverPair, failover_pair
from tests.feeds import Listener, following, inserted
from tests.postgres import connected

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

TRUE_AGAIN_SECONDS_MAX = 5.0
LOST_UPDATES = 30
ROWS = "SELECT id::text, revision, status, progress ->> 'completed' FROM bulk_enrichment_jobs"
COUNT = """
    UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('total', 100, 'completed', $2::int)
    WHERE id = $1
"""
FINISH = "UPDATE bulk_enrichment_jobs SET status = 'completed' WHERE id = $1"
DELETE = "DELETE FROM bulk_enrichment_jobs WHERE id = $1"

Shown = dict[str, tuple[int, str, int]]


@pytest.fixture
async def pair() -> AsyncIterator[FailoverPair]:
    """A primary with the schema, and its standby."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="progress-"))
        pair = await stack.enter_async_context(failover_pair(Path(folder), HASTY))
        await apply_schema(pair.primary.dsn, schema_text())
        yield pair


@pytest.mark.parametrize("kind", ["notify", "wal", "poll"])
async def test_what_a_fail_over_lost_is_shown_no_more(pair: FailoverPair, kind: str) -> None:
    """Revisions fall, an end is undone, a deleted job returns and a new one is gone, all within 5 s."""
    async with following(pair.dsn, kind) as (listener, _):
        async with connected(pair.primary.dsn) as primary:
            user_id = uuid4()
            moving, ending, leaving = [await inserted(primary, user_id) for _ in range(3)]
            await pair.until_replicated()
            await pair.stop_replication()
            for count in range(1, LOST_UPDATES + 1):
                await primary.execute(COUNT, moving, count)
            await primary.execute(FINISH, ending)
            await primary.execute(DELETE, leaving)
            await inserted(primary, user_id)
            lost = await rows(primary)
            await until_shown(listener, {key: row for key, row in lost.items() if row[1] == "running"})
        turns = len(listener.turns())

        await pair.fail_over()
        await listener.until(lambda: any(is_useful(turn) for turn in listener.turns()[turns:]))
        began = time.monotonic()
        async with connected(pair.primary.dsn) as primary:
            held = await rows(primary)
            assert set(held) == {str(moving), str(ending), str(leaving)}
            assert held[str(moving)][0] < lost[str(moving)][0]
            await until_shown(listener, held)
            assert time.monotonic() - began < TRUE_AGAIN_SECONDS_MAX
            # Later commits have revisions that were shown before, for what was lost.
            await primary.execute(COUNT, moving, 1)
            await until_shown(listener, await rows(primary))


async def test_a_server_that_comes_back_follows_the_new_primary(pair: FailoverPair) -> None:
    """So one pair can fail over again and again, in either direction."""
    for count in range(1, 3):
        async with connected(pair.primary.dsn) as primary:
            await inserted(primary, uuid4())
        await pair.until_replicated()
        await pair.fail_over()
        await pair.rejoin()
        await pair.until_replicated()
        async with connected(pair.standby.dsn) as standby:
            assert await standby.fetchval("SELECT pg_is_in_recovery()")
            assert await standby.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == count


def is_useful(turn: object) -> bool:
    """Whether a feed follows its database from that turn on."""
    return getattr(turn, "state", FeedState.LOST) is not FeedState.LOST


async def rows(connection: "Connection") -> Shown:
    """What the table holds."""
    return {row[0]: (row[1], row[2], int(row[3] or 0)) for row in await connection.fetch(ROWS)}


async def until_shown(listener: Listener, expected: Shown) -> None:
    """Wait until the jobs at work that are shown are these."""

    def shown() -> Shown:
        jobs = [listener.jobs.job(job_id) for job_id in listener.job_ids()]
        return {
            job.id: (job.revision, job.status, job.progress.completed)
            for job in jobs
            if job is not None and job.finished_at is None
        }

    with anyio.fail_after(TRUE_AGAIN_SECONDS_MAX):
        await listener.until(lambda: shown() == expected)
