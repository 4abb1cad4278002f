"""Databases of a test's own on the run's PostgreSQL."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import asyncpg

from progress_service.jobs.schema import apply_schema, schema_text

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CHANNEL = "bulk_enrichment_jobs.public"
CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype = 'c'
"""


def dsn_of(dsn: str, database: str) -> str:
    """The DSN of another *database* on the server of *dsn*."""
    return re.sub(r"@/[^?]*", f"@/{database}", dsn)


def database_of(dsn: str) -> str:
    """The name of the database that *dsn* leads to."""
    return dsn.partition("@/")[2].partition("?")[0]


def socket_of(dsn: str) -> str:
    """The Unix socket that *dsn* leads to."""
    host, port = (re.search(rf"[?&]{name}=([^&]*)", dsn) for name in ("host", "port"))
    assert host is not None
    assert port is not None
    return f"{unquote(host[1])}/.s.PGSQL.{port[1]}"


@contextmanager
def database(server_dsn: str, *, template: str = "template1") -> Iterator[str]:
    """Make a database like *template*, give its DSN, and drop it in the end, whoever is still connected."""
    name = f"test_{secrets.token_hex(6)}"
    # Faster than logging every page of the template, on a server for which checkpoints are cheap.
    _execute(server_dsn, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield dsn_of(server_dsn, name)
    finally:
        # Whoever reads the log keeps the database from being dropped, even by force.
        _execute(
            server_dsn,
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "  # noqa: S608
            f"WHERE database = '{name}'",
        )
        _execute(server_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def database_with_schema(server_dsn: str) -> Iterator[str]:
    """Make a database with the schema, and give its name."""
    with database(server_dsn) as dsn:
        asyncio.run(apply_schema(dsn, schema_text()))
        yield database_of(dsn)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["Connection"]:
    """A connection that is closed in the end."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def new_user(_connection: "Connection") -> UUID:
    """Return the id of a new user. The tests' databases have no table of users."""
    return uuid4()


async def add_users(dsn: str, *user_ids: UUID) -> None:
    """Create the application's table of users, with these, and let jobs refer to it."""
    async with connected(dsn) as connection:
        await connection.execute("CREATE TABLE users (id uuid PRIMARY KEY)")
        await connection.executemany("INSERT INTO users VALUES ($1)", [(user_id,) for user_id in user_ids])
    await apply_schema(dsn, schema_text())


@asynccontextmanager
async def before_the_rules(connection: "Connection") -> AsyncIterator[None]:
    """Let a block write rows that break any rule, as older tables have them.

    Neither constraints nor triggers work within; afterwards the constraints are NOT VALID.
    """
    rules = await connection.fetch(CONSTRAINTS)
    for name, _ in rules:
        await connection.execute(f"ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT {name}")
    await connection.execute("ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER zz_bump_revision")
    yield
    await connection.execute("ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER zz_bump_revision")
    for name, definition in rules:
        rule = f"{name} {definition.removesuffix(' NOT VALID')} NOT VALID"
        await connection.execute(f"ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT {rule}")


async def until_someone_waits_for_a_lock(connection: "Connection") -> None:
    """Wait until a session of this database waits for a lock. PostgreSQL has no event for it, so poll."""
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()
    """
    with anyio.fail_after(30):
        while not await connection.fetchval(query):
            await anyio.lowlevel.checkpoint()


class Listener:
    """A listener on a channel of hints. `listening` opens one."""

    def __init__(self, connection: "Connection", channel: str) -> None:
        self.connection = connection
        self._channel = channel
        self._payloads: asyncio.Queue[str] = asyncio.Queue()

    async def listen(self) -> None:
        """Keep all payloads that are sent from now on."""
        await self.connection.add_listener(
            self._channel, lambda *args: self._payloads.put_nowait(str(args[-1]))
        )

    async def payloads(self) -> list[str]:
        """Return all payloads since the last call. PostgreSQL keeps the order; a marker ends them."""
        marker = secrets.token_hex(8)
        await self.connection.execute("SELECT pg_notify($1, $2)", self._channel, marker)
        payloads = []
        while (payload := await self._payloads.get()) != marker:
            payloads.append(payload)
        return payloads


@asynccontextmanager
async def listening(dsn: str, channel: str = CHANNEL) -> AsyncIterator[Listener]:
    """Listen on a connection of its own."""
    async with connected(dsn) as connection:
        listener = Listener(connection, channel)
        await listener.listen()
        yield listener


def _execute(dsn: str, statement: str) -> None:
    async def execute() -> None:
        async with connected(dsn) as connection:
            await connection.execute(statement)

    asyncio.run(execute())
