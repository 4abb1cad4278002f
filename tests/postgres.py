"""Databases of a test's own on the run's PostgreSQL."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

import anyio
import anyio.lowlevel
import asyncpg

from progress_service.jobs.schema import apply_schema, schema_text

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CHANNEL = "bulk_enrichment_jobs"


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


async def new_user(connection: "Connection") -> UUID:
    """Add a person to the table `users`."""
    user_id: UUID = await connection.fetchval("INSERT INTO users DEFAULT VALUES RETURNING id")
    return user_id


@asynccontextmanager
async def before_the_rules(connection: "Connection") -> AsyncIterator[None]:
    """What is written in here breaks whichever rule it likes, as rows of older tables may."""
    rules = await connection.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'every_rule_is_kept'"
    )
    await connection.execute("ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT every_rule_is_kept")
    yield
    await connection.execute(
        f"ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT every_rule_is_kept {rules} NOT VALID"
    )


async def until_someone_waits_for_a_lock(connection: "Connection") -> None:
    """PostgreSQL tells nobody of it, so look; each look is a round trip."""
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()
    """
    with anyio.fail_after(20):
        while not await connection.fetchval(query):
            await anyio.lowlevel.checkpoint()


class Listener:
    """Someone who listens on the channel of jobs. `listening` makes one."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(self) -> None:
        """Hear all that is sent from now on."""
        await self._connection.add_listener(CHANNEL, lambda *heard: self._heard.put_nowait(str(heard[-1])))

    async def payloads(self) -> list[str]:
        """All that was sent since the last call. PostgreSQL delivers in order, so a marker shows the end."""
        marker = secrets.token_hex(8)
        await self._connection.execute("SELECT pg_notify($1, $2)", CHANNEL, marker)
        heard = []
        while (payload := await self._heard.get()) != marker:
            heard.append(payload)
        return heard

    async def notifications(self) -> list[Any]:
        """As `payloads`, decoded."""
        return [json.loads(payload) for payload in await self.payloads()]


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[Listener]:
    """Listen on a connection of its own."""
    async with connected(dsn) as connection:
        listener = Listener(connection)
        await listener.listen()
        yield listener


def _execute(dsn: str, statement: str) -> None:
    async def execute() -> None:
        async with connected(dsn) as connection:
            await connection.execute(statement)

    asyncio.run(execute())
