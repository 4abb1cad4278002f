"""A job that gets on quickly: not every step is told, and yet none is missed that is the last one."""

import itertools
import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from progress_service.core.events import SnapshotTaken
from progress_service.core.model import Status
from progress_service.feeds import notify
from progress_service.feeds.database import Sight, look_again
from progress_service.feeds.following import Session
from progress_service.feeds.looks import SILENCE_SECONDS, Looks
from progress_service.jobs.schema import apply_schema, schema_text
from tests.feeds import WAIT_SECONDS_MAX, active_revisions, following, inserted
from tests.postgres import connected, listening, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

INTERVAL = re.compile(r"(?<=interval ')[^']+(?=')")
FUNCTIONS = re.findall(
    r"CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_(?:silence|keep_order)\(\).+?\$\$.+?\$\$;",
    schema_text(),
    re.DOTALL,
)
"""Those of the schema that say how long a silence is."""


def silence(interval: str) -> str:
    """What makes every silence as long as that."""
    return "".join(INTERVAL.sub(interval, function) for function in FUNCTIONS)


# Long enough for a test to write within it, on however slow a machine; and one that is over at once.
LONG_SILENCE, NO_SILENCE = silence("2 s"), silence("0")
STEP = """
    UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('completed', $2::int) WHERE id = $1
"""
# Each step a transaction of its own, as fast as PostgreSQL can.
STEPS = """
    DO $do$ BEGIN FOR n IN 1 .. {steps} LOOP
        UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('completed', n) WHERE id = '{job_id}';
        COMMIT;
    END LOOP; END $do$
"""
ELAPSED = "SELECT extract(epoch FROM updated_at - created_at)::float FROM bulk_enrichment_jobs WHERE id = $1"


class Watch:
    """Sees what each second look shows. It stands between a feed and its looks."""

    def __init__(self) -> None:
        self.sights: list[Sight] = []
        self.looks: Looks | None = None

    async def look_again(self, connection: "Connection", known: Mapping[str, int]) -> dict[str, Sight]:
        """As the feed's."""
        found = await look_again(connection, known)
        self.sights += found.values()
        return found

    def made(self) -> Looks:
        """The looks of a session."""
        self.looks = Looks()
        return self.looks

    async def until_it_sees_a_lock(self, *, times: int) -> None:
        """Wait for looks, after the silence, at a row that may be written to."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while sum(sight.is_locked and not sight.is_young for sight in self.sights) < times:
                await anyio.lowlevel.checkpoint()

    async def until_nothing_is_left(self) -> None:
        """Wait until no look is to come."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while self.looks is None or self.looks.all():
                await anyio.lowlevel.checkpoint()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Someone who sees every look."""
    watch = Watch()
    monkeypatch.setattr(notify, "look_again", watch.look_again)
    monkeypatch.setattr(notify, "Looks", watch.made)
    return watch


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator["Connection"]:
    """A worker's session."""
    async with connected(dsn) as connection:
        yield connection


@pytest.fixture
async def user_id(connection: "Connection") -> UUID:
    """Somebody who has jobs."""
    return await new_user(connection)


async def test_both_sides_agree_how_long_a_silence_is(connection: "Connection") -> None:
    """A feed that took it for shorter would look in vain, and one that took it for longer come late."""
    assert [len(INTERVAL.findall(function)) for function in FUNCTIONS] == [1, 1]
    assert len({each for function in FUNCTIONS for each in INTERVAL.findall(function)}) == 1
    silence = await connection.fetchval("SELECT extract(epoch FROM bulk_enrichment_jobs_silence())::float")
    assert silence == SILENCE_SECONDS


async def test_a_burst_is_told_in_few_words(each_dsn: str) -> None:
    """Commits that notify wait for one another, and no screen shows a thousand steps a second."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        user_id = await new_user(connection)
        async with following(each_dsn) as (feed_listener, feed):
            job_id = await inserted(connection, user_id)
            await connection.execute(STEPS.format(steps=200, job_id=job_id))
            seconds = await connection.fetchval(ELAPSED, job_id)
            # The feed speaks to itself on the same channel.
            told = [each for each in await listener.notifications() if "reported" in each]
            assert 2 <= len(told) <= 3 + seconds / SILENCE_SECONDS
            await feed_listener.until(lambda: feed_listener.board.totals(str(user_id)).completed == 200)
            assert feed.ledger.healed == 0


@pytest.mark.parametrize(
    "assignments",
    [
        "status = 'paused'",
        "status = 'completed'",
        "requested = 'cancel'",
        "label = 'Autumn'",
        "error = 'no more credit'",
        "started_at = started_at - interval '1 day'",
    ],
)
async def test_what_is_more_than_progress_is_told_at_once(each_dsn: str, assignments: str) -> None:
    """Whoever pauses a job, or waits for its end, must not be kept waiting by its haste."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await connection.execute(LONG_SILENCE)
        job_id = await inserted(connection, await new_user(connection))
        await connection.execute(STEPS.format(steps=10, job_id=job_id))
        assert len(await listener.payloads()) == 2
        await connection.execute(
            f"UPDATE bulk_enrichment_jobs SET progress = '{{\"completed\": 11}}', {assignments}"  # noqa: S608
        )
        (told,) = await listener.notifications()
        assert told["reported"][0]["progress"] == {"completed": 11}


async def test_whatever_befalls_an_ended_job_is_told(each_dsn: str) -> None:
    """Nobody looks at it any more, so that nothing of it may be silent."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await connection.execute(LONG_SILENCE)
        job_id = await inserted(connection, await new_user(connection), status="completed")
        await listener.payloads()
        await connection.execute(STEPS.format(steps=3, job_id=job_id))
        assert len(await listener.payloads()) == 3


async def test_a_silence_ends_by_itself(each_dsn: str) -> None:
    """It begins with what was told, and not anew with each step, or a busy job would not be told of again."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        job_id = await inserted(connection, await new_user(connection))
        await listener.payloads()
        told = 0
        with anyio.fail_after(WAIT_SECONDS_MAX):
            for n in itertools.count(1):
                await connection.execute(STEP, job_id, n)
                told += len(await listener.payloads())
                if told == 5:
                    break
        assert await connection.fetchval(ELAPSED, job_id) >= 4 * SILENCE_SECONDS


async def test_what_is_committed_long_after_the_silence_is_seen(
    dsn: str, connection: "Connection", user_id: UUID, watch: Watch
) -> None:
    """A step that was written in silence, in a transaction that takes its time, may be the last one."""
    await connection.execute(LONG_SILENCE)
    async with following(dsn) as (listener, feed), connected(dsn) as slow:
        job_id = await inserted(connection, user_id)
        await connection.execute(STEP, job_id, 1)
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(STEP, job_id, 2)
        await watch.until_it_sees_a_lock(times=2)
        assert listener.board.totals(str(user_id)).completed == 1
        await transaction.commit()
        await listener.until(lambda: listener.board.totals(str(user_id)).completed == 2)
        assert feed.ledger.healed == 0
        await watch.until_nothing_is_left()


async def test_a_feed_that_comes_after_a_silence_sees_its_end(
    dsn: str, connection: "Connection", user_id: UUID, watch: Watch
) -> None:
    """Nothing was heard of the job, and its snapshot is a step behind."""
    await connection.execute(LONG_SILENCE)
    job_id = await inserted(connection, user_id)
    await connection.execute(STEP, job_id, 1)
    async with connected(dsn) as slow:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(STEP, job_id, 2)
        await connection.execute(NO_SILENCE)
        async with following(dsn) as (listener, feed):
            await watch.until_it_sees_a_lock(times=1)
            await transaction.commit()
            await listener.until(lambda: listener.board.totals(str(user_id)).completed == 2)
            assert feed.ledger.healed == 0


async def test_live_includes_what_was_written_in_silence(
    dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`live` is a promise about all that was committed by then, told or not."""
    snapshot = Session.snapshot

    async def and_a_step(session: Session) -> SnapshotTaken:
        taken = await snapshot(session)
        await connection.execute(STEP, job_id, 2)
        return taken

    monkeypatch.setattr(Session, "snapshot", and_a_step)
    await connection.execute(LONG_SILENCE)
    job_id = await inserted(connection, user_id)
    await connection.execute(STEP, job_id, 1)
    async with following(dsn) as (listener, _):
        assert listener.board.totals(str(user_id)).completed == 2


@pytest.mark.parametrize("ending", ["ROLLBACK", "COMMIT"])
async def test_a_trace_of_a_lock_is_not_looked_at_for_ever(
    dsn: str, connection: "Connection", user_id: UUID, watch: Watch, ending: str
) -> None:
    """PostgreSQL leaves xmax as it is after a rollback or a lock; a job that waits may do so for days."""
    await connection.execute(LONG_SILENCE)
    async with following(dsn) as (listener, _), connected(dsn) as other:
        job_id = await inserted(connection, user_id)
        await connection.execute(STEP, job_id, 1)
        await listener.until(lambda: listener.board.totals(str(user_id)).completed == 1)
        await other.execute("BEGIN")
        if ending == "ROLLBACK":
            await other.execute(STEP, job_id, 2)
        else:
            await other.execute("SELECT FROM bulk_enrichment_jobs FOR KEY SHARE")
        await other.execute(ending)
        await watch.until_it_sees_a_lock(times=1)
        await watch.until_nothing_is_left()
        assert listener.board.totals(str(user_id)).completed == 1


async def test_two_steps_of_one_transaction_come_together(
    dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """The first is told and the second is not; they become visible at the same moment."""
    await connection.execute(LONG_SILENCE)
    async with following(dsn) as (listener, feed):
        job_id = await inserted(connection, user_id)
        async with connection.transaction():
            for n in (1, 2):
                await connection.execute(STEP, job_id, n)
        await listener.until(lambda: listener.board.totals(str(user_id)).completed == 2)
        assert feed.ledger.healed == 0


async def test_many_writers_in_haste_are_all_followed(
    dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Silences, looks and commits of eight sessions cross one another in every way."""
    steps = 60
    async with following(dsn) as (listener, feed):
        job_ids = [await inserted(connection, user_id) for _ in range(8)]

        async def hurry(own: int) -> None:
            async with connected(dsn) as writer:
                # Each has its own job first, and then its neighbour's, for whose row two may wait.
                for job_id in (job_ids[own], job_ids[own - 1]):
                    await writer.execute(STEPS.format(steps=steps, job_id=job_id))

        async with anyio.create_task_group() as tasks:
            for own in range(8):
                tasks.start_soon(hurry, own)
        expected = await active_revisions(dsn)

        def is_followed() -> bool:
            shown = {job.id: job.revision for job in listener.board.view(str(user_id))}
            return shown == expected

        await listener.until(is_followed)
        assert sum(revision for revision in expected.values()) > 0
        assert feed.ledger.healed == 0
        assert all(job.status is Status.RUNNING for job in listener.board.view(str(user_id)))


async def test_no_writer_decides_what_is_told(each_dsn: str) -> None:
    """A form that sends back all columns that it read would otherwise silence what it changes."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        job_id = await inserted(connection, await new_user(connection), told_at=None)
        await connection.execute(STEPS.format(steps=1, job_id=job_id))
        told_at: Any = await connection.fetchval("SELECT told_at FROM bulk_enrichment_jobs")
        await listener.payloads()
        await connection.execute("UPDATE bulk_enrichment_jobs SET told_at = now() + interval '1 day'")
        assert await connection.fetchval("SELECT told_at FROM bulk_enrichment_jobs") == told_at
        await connection.execute("UPDATE bulk_enrichment_jobs SET told_at = told_at, label = 'Autumn'")
        assert len(await listener.payloads()) == 1


async def test_where_the_log_is_read_nothing_is_silent_or_told(each_dsn: str) -> None:
    """Its writers need not pay for what nobody hears, and may be listened to again one day."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await apply_schema(each_dsn, schema_text("wal"))
        job_id = await inserted(connection, await new_user(connection))
        await connection.execute(STEPS.format(steps=3, job_id=job_id))
        assert await connection.fetchval("SELECT told_at FROM bulk_enrichment_jobs") is None
        await listener.payloads()
        await apply_schema(each_dsn, schema_text("notify"))
        await connection.execute(STEPS.format(steps=3, job_id=job_id))
        assert len(await listener.payloads()) in {1, 2, 3}
        assert await connection.fetchval("SELECT told_at FROM bulk_enrichment_jobs") is not None
