"""The store: rows of one user, created and read on a real PostgreSQL with that user's rights."""

import socket
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import anyio
import pytest

from progress_service.core.events import JobUpserted
from progress_service.core.model import Instant, Request, Status
from progress_service.jobs import pool as pools
from progress_service.jobs import store
from progress_service.jobs.pool import InvalidJob, StoreUnavailable, UnknownUser, acquired, opened_pool
from progress_service.jobs.schema import apply_schema, schema_text
from progress_service.jobs.store import JobStore
from progress_service.wire.rows import decode_row
from tests.feeds import line_to
from tests.postgres import add_users, before_the_rules, connected, dsn_of, until_someone_waits_for_a_lock

RENAME = "UPDATE bulk_enrichment_jobs SET label = $2 WHERE id = $1"

pytestmark = pytest.mark.anyio


async def test_a_created_job_can_be_read(dsn: str) -> None:
    """`create` and `get` return the same row, which decodes to the job that was asked for."""
    user_id = uuid4()
    async with JobStore.open(dsn) as jobs:
        created = await jobs.create(user_id, label="Spring leads", total=200, exclusive=True)
        decoded = decode_row(tuple(created), Instant(0))
        assert isinstance(decoded, JobUpserted)
        job = decoded.job
        assert (job.user_id, job.label, job.status) == (str(user_id), "Spring leads", Status.PENDING)
        assert (job.progress.total, job.progress.completed) == (200, 0)
        assert await jobs.get(user_id, UUID(job.id)) == created
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT exclusive FROM bulk_enrichment_jobs")


async def test_another_users_job_is_not_there(dsn: str) -> None:
    """The answer is the same for the job of another user as for one that does not exist."""
    owner, stranger = uuid4(), uuid4()
    async with JobStore.open(dsn) as jobs:
        job_id = UUID((await jobs.create(owner))["id"])
        assert await jobs.get(stranger, job_id) is None
        assert await jobs.get(owner, uuid4()) is None


async def test_row_level_security_decides_and_not_our_code(dsn: str) -> None:
    """Without the policy, the store neither reads nor creates a job."""
    user_id = uuid4()
    async with JobStore.open(dsn) as jobs:
        job_id = UUID((await jobs.create(user_id))["id"])
        async with connected(dsn) as connection:
            await connection.execute("DROP POLICY owner_only ON bulk_enrichment_jobs")
        assert await jobs.get(user_id, job_id) is None
        with pytest.raises(StoreUnavailable, match="row-level security"):
            await jobs.create(user_id)


async def test_an_identity_ends_with_its_transaction(dsn: str) -> None:
    """After a method, and after one that fails, the connection is its own role again, without claims."""
    user_id = uuid4()
    is_nobody = """
        SELECT current_user = session_user AND coalesce(current_setting('request.jwt.claims', true), '') = ''
    """
    async with opened_pool(dsn, connections_max=1) as pool:
        await JobStore(pool).create(user_id)
        with pytest.raises(InvalidJob):
            await JobStore(pool).create(user_id, label="x" * 201)
        async with acquired(pool) as connection:
            assert await connection.fetchval(is_nobody)


async def test_a_user_who_does_not_exist_is_named_as_the_cause(dsn: str) -> None:
    """Where the application has a table of users, a job of an unknown user raises `UnknownUser`."""
    await add_users(dsn)
    async with JobStore.open(dsn) as jobs:
        with pytest.raises(UnknownUser, match="does not exist"):
            await jobs.create(uuid4())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"total": -1}, "total is -1, but must be a whole number"),
        ({"total": 2**53}, "total is 9007199254740992, but must be"),
        ({"label": "x" * 201}, "label has at most 200 characters"),
        ({"label": "a\0b"}, "invalid byte sequence"),
    ],
)
async def test_a_wrong_value_is_refused_in_words(dsn: str, wrong: dict[str, int | str], words: str) -> None:
    """Each wrong value raises `InvalidJob` with the rule in words."""
    user_id = uuid4()
    async with JobStore.open(dsn) as jobs:
        with pytest.raises(InvalidJob, match=f"^{words}"):
            await jobs.create(user_id, **wrong)  # type: ignore[arg-type]


async def test_a_date_that_python_cannot_hold_is_refused_in_words(dsn: str) -> None:
    """An older row with such a date raises `InvalidJob`, and the history leaves the row out."""
    user_id = uuid4()
    async with JobStore.open(dsn) as jobs, connected(dsn) as connection:
        ids = [UUID((await jobs.create(user_id))["id"]) for _ in range(2)]
        await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'failed'")
        async with before_the_rules(connection):
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET created_at = '0100-01-01 BC' WHERE id = $1", ids[0]
            )
        with pytest.raises(InvalidJob, match="a date of the row is not from year 1 to 9999"):
            await jobs.get(user_id, ids[0])
        page = await jobs.history(user_id, limit=5)
        assert [entry.row["id"] for entry in page.entries] == [str(ids[1])]


async def test_a_store_opens_before_its_database_is_ready(empty_dsn: str) -> None:
    """Before the schema exists, methods raise `StoreUnavailable` with the remedy; afterwards they work."""
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
    """Every kind of outage raises `StoreUnavailable`, in one line and without the password."""
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
    """A host that accepts and never answers raises `StoreUnavailable` in time."""
    monkeypatch.setattr(pools, "ACQUIRE_SECONDS_MAX", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with JobStore.open(f"postgresql://someone@127.0.0.1:{silent.getsockname()[1]}/x") as jobs:
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await jobs.get(uuid4(), uuid4())


async def test_a_line_that_falls_silent_keeps_no_row_locked(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command whose connection falls silent is ended by PostgreSQL, and the worker can write the row."""
    monkeypatch.setattr(store, "SILENT_SECONDS_MAX", 0.2)
    user_id = uuid4()
    async with (
        line_to(dsn) as (line, over_line),
        JobStore.open(over_line) as jobs,
        connected(dsn) as worker,
        anyio.create_task_group() as tasks,
    ):
        job_id = UUID((await jobs.create(user_id))["id"])
        async with worker.transaction():
            await worker.execute(RENAME, job_id, "held")
            tasks.start_soon(jobs.command, user_id, job_id, Request.CANCEL)
            await until_someone_waits_for_a_lock(worker)
            line.fall_silent()
        await worker.execute(RENAME, job_id, "mine again", timeout=30.0)
        tasks.cancel_scope.cancel()
