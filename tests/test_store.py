"""A person's rows, made and read on a real PostgreSQL with that person's rights and no others."""

import json
import socket
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import anyio
import pytest

from progress_service.core.events import JobReported
from progress_service.core.model import Instant, Request, Status
from progress_service.jobs import pool as pools
from progress_service.jobs import store
from progress_service.jobs.pool import InvalidJob, StoreUnavailable, UnknownUser, acquired, opened_pool
from progress_service.jobs.schema import apply_schema, schema_text
from progress_service.jobs.store import JobStore
from progress_service.wire import rows
from tests.feeds import line_to
from tests.postgres import connected, dsn_of, new_user, until_someone_waits_for_a_lock

RENAME = "UPDATE bulk_enrichment_jobs SET label = $2 WHERE id = $1"

pytestmark = pytest.mark.anyio


async def user_of(dsn: str) -> UUID:
    """A new user."""
    async with connected(dsn) as connection:
        return await new_user(connection)


async def test_what_is_created_can_be_read_as_a_report(dsn: str) -> None:
    """Both methods answer in the shape that snapshots and notifications have, so one reader serves all."""
    user_id = await user_of(dsn)
    async with JobStore.open(dsn) as jobs:
        created = await jobs.create(user_id, label="Spring leads", total=200, exclusive=True)
        fact = rows.job_reported(created, Instant(0))
        assert isinstance(fact, JobReported)
        assert (fact.job.user_id, fact.job.label, fact.job.status) == (
            str(user_id),
            "Spring leads",
            Status.PENDING,
        )
        assert (fact.job.progress.total, fact.job.progress.completed) == (200, 0)
        assert await jobs.get(user_id, UUID(fact.job.id)) == created
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT exclusive FROM bulk_enrichment_jobs")


async def test_another_users_job_is_not_there(dsn: str) -> None:
    """What a stranger is told must not even differ from what there is to tell about a job that never was."""
    owner, stranger = await user_of(dsn), await user_of(dsn)
    async with JobStore.open(dsn) as jobs:
        job_id = UUID(json.loads(await jobs.create(owner))["id"])
        assert await jobs.get(stranger, job_id) is None
        assert await jobs.get(owner, uuid4()) is None


async def test_row_level_security_decides_and_not_our_code(dsn: str) -> None:
    """Were the store to read as the owner, one mistake in a WHERE clause would show everybody everything."""
    user_id = await user_of(dsn)
    async with JobStore.open(dsn) as jobs:
        job_id = UUID(json.loads(await jobs.create(user_id))["id"])
        async with connected(dsn) as connection:
            await connection.execute("DROP POLICY people_have_their_own_jobs ON bulk_enrichment_jobs")
        assert await jobs.get(user_id, job_id) is None
        with pytest.raises(StoreUnavailable, match="row-level security"):
            await jobs.create(user_id)


async def test_an_identity_ends_with_its_transaction(dsn: str) -> None:
    """A connection that stayed one person would show that person's jobs to whoever is served next."""
    user_id = await user_of(dsn)
    is_nobody = """
        SELECT current_user = session_user AND coalesce(current_setting('request.jwt.claims', true), '') = ''
    """
    async with opened_pool(dsn, connections_max=1) as pool:
        await JobStore(pool).create(user_id)
        with pytest.raises(InvalidJob):
            await JobStore(pool).create(user_id, total=-1)
        async with acquired(pool) as connection:
            assert await connection.fetchval(is_nobody)


async def test_a_user_who_does_not_exist_is_named_as_the_cause(dsn: str) -> None:
    """A token can outlive its user; that is the caller's trouble and no failure of the database."""
    async with JobStore.open(dsn) as jobs:
        with pytest.raises(UnknownUser, match="does not exist"):
            await jobs.create(uuid4())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"total": -1}, "progress total is a whole number"),
        ({"total": 2**53}, "progress total is a whole number"),
        ({"label": "x" * 201}, "label has at most 200 characters"),
        ({"label": "a\0b"}, "invalid byte sequence"),
    ],
)
async def test_a_refused_value_is_told_in_words(dsn: str, wrong: dict[str, int | str], words: str) -> None:
    """The constraint's sentence is what a developer can act on; a stack of asyncpg is not."""
    user_id = await user_of(dsn)
    async with JobStore.open(dsn) as jobs:
        with pytest.raises(InvalidJob, match=f"^{words}"):
            await jobs.create(user_id, **wrong)  # type: ignore[arg-type]


async def test_a_store_opens_before_its_database_is_ready(empty_dsn: str) -> None:
    """A service that starts before its database must come up, say what is wrong, and then just work."""
    async with JobStore.open(empty_dsn) as jobs:
        with pytest.raises(StoreUnavailable, match="progress-service schema --apply"):
            await jobs.get(uuid4(), uuid4())
        await apply_schema(empty_dsn, schema_text())
        assert await jobs.get(uuid4(), uuid4()) is None


@pytest.mark.parametrize(
    "broken",
    [
        lambda _: "postgresql://someone:hidden@127.0.0.1:1/nowhere",
        lambda _: "postgresql://someone:hidden@127.0.0.1:port/nowhere",
        lambda _: "nonsense",
        lambda dsn: dsn_of(dsn, "no_such_database"),
    ],
    ids=["refused", "bad port", "no DSN", "no database"],
)
async def test_a_database_that_is_away_is_one_clear_error(
    postgres_dsn: str, broken: Callable[[str], str]
) -> None:
    """Callers answer 503 to one exception; one that they do not know would be a 500 and a stack trace."""
    async with JobStore.open(broken(postgres_dsn)) as jobs:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: jobs.create(uuid4()),
            lambda: jobs.get(uuid4(), uuid4()),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable) as caught:
                await call()
            assert "\n" not in str(caught.value)
            assert "hidden" not in str(caught.value)


async def test_a_silent_host_does_not_hold_a_caller_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that drops packets looks like this; a request must end all the same."""
    monkeypatch.setattr(pools, "ACQUIRE_SECONDS_MAX", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with JobStore.open(f"postgresql://someone@127.0.0.1:{silent.getsockname()[1]}/x") as jobs:
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await jobs.get(uuid4(), uuid4())


async def test_a_line_that_falls_silent_keeps_no_row_locked(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL would wait for the rest of a command for hours, and the job's worker for PostgreSQL."""
    monkeypatch.setattr(store, "SILENT_SECONDS_MAX", 0.2)
    user_id = await user_of(dsn)
    async with (
        line_to(dsn) as (line, over_line),
        JobStore.open(over_line) as jobs,
        connected(dsn) as worker,
        anyio.create_task_group() as tasks,
    ):
        job_id = UUID(json.loads(await jobs.create(user_id))["id"])
        async with worker.transaction():
            await worker.execute(RENAME, job_id, "held")
            tasks.start_soon(jobs.command, user_id, job_id, Request.CANCEL)
            await until_someone_waits_for_a_lock(worker)
            line.fall_silent()
        await worker.execute(RENAME, job_id, "mine again", timeout=5.0)
        tasks.cancel_scope.cancel()
