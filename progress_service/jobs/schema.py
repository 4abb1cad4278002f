"""The schema of the database, `schema.sql`: its text, and its application in short transactions."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import anyio
import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_SECONDS_MAX = 10.0

LOCK_SECONDS_MAX = 1.0
"""How long a step waits for a lock. Writers queue behind it meanwhile, so it gives up and tries again."""

LOCK_TRIES_MAX = 30
RETRY_SECONDS = 0.5
TURN_TRIES_MAX = 600
"""At a fifth of `RETRY_SECONDS` each."""
ROWS_MAX = 5_000
"""How many older rows one transaction fills in."""

PACKAGE = Path(__file__).parent.parent

ONE_EXCLUSIVE = "one_exclusive_job_at_a_time"
"""The unique index by which a user has one exclusive job at a time."""

SchemaLacking = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError)
"""What PostgreSQL raises where the schema is missing, or is older than the program."""

_STEP = re.compile(r"^-- step: (.+)$", re.MULTILINE)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX IF NOT EXISTS (\w+) ON ([^;]+)")
_FUNCTION_BODY = re.compile(r"AS \$\$(.*)\$\$;", re.DOTALL)

_IS_CURRENT_FUNCTION = "SELECT prosrc = $2 FROM pg_proc WHERE oid = to_regproc($1)"
_IS_VALID_INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
_TAKE_TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended('application of bulk_enrichment_jobs', 0))"
_LOCK_HOLDERS = """
    SELECT string_agg(DISTINCT format('%s %s', pid, application_name), ', ')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE relation IN (SELECT oid FROM pg_class WHERE relname = 'bulk_enrichment_jobs')
        AND granted AND pid <> pg_backend_pid()
"""


def schema_text(feed: Literal["notify", "wal"] | None = None) -> str:
    """Return the text of `schema.sql`, with `upgrade.sql` included.

    *feed* says whether triggers send hints or the log is read; None keeps the last choice.
    """
    choice = "" if feed is None else f"SET progress_service.feed = '{feed}';\n\n"
    return choice + _file_text("schema.sql").replace("\\ir upgrade.sql\n", _file_text("upgrade.sql"))


def _file_text(name: str) -> str:
    """Read a file of the installed package, or from beside it in a checkout."""
    installed = PACKAGE / name
    path = installed if installed.exists() else PACKAGE.parent / name
    return path.read_text(encoding="utf-8")


class SchemaError(Exception):
    """The schema cannot be applied; the text says why."""


def schema_lacking(error: BaseException) -> str:
    """Describe a `SchemaLacking`, with the command that corrects it."""
    return f"{error} (the schema is missing or old: run `progress-service schema --apply`)"


async def apply_schema(dsn: str, sql: str) -> list[str]:
    """Apply *sql* to the database of *dsn*, and return PostgreSQL's warnings.

    An empty or missing table is one transaction. A table with rows is upgraded step by step: each step is a
    short transaction that is tried again when it does not get a lock, and indexes are built concurrently.

    Raises:
        SchemaError: PostgreSQL cannot be reached, or it refused a step; the steps before it stay.
    """
    remarks: list[str] = []

    def note(
        _connection: "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]",
        message: asyncpg.PostgresLogMessage,
    ) -> None:
        if message.severity_en == "WARNING":
            remarks.append(" ".join(part for part in (message.message, message.hint) if part))

    try:
        async with _turn(dsn), _connected(dsn) as connection:
            connection.add_log_listener(note)
            await _Application(connection, sql, remarks).run()
    except asyncpg.PostgresError as error:
        raise SchemaError(f"PostgreSQL refused: {error}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise SchemaError(f"PostgreSQL cannot be reached: {str(error) or type(error).__name__}") from error
    return remarks


@asynccontextmanager
async def _turn(dsn: str) -> AsyncIterator[None]:
    """Apply the schema in one program at a time, over a connection that keeps no snapshot.

    CREATE INDEX CONCURRENTLY waits for every transaction with a snapshot, so a program that waits for its
    turn must not have one.
    """
    async with _connected(dsn) as connection:
        for _ in range(TURN_TRIES_MAX):
            async with connection.transaction(isolation="read_committed"):
                if await connection.fetchval(_TAKE_TURN):
                    # Another statement drops the snapshot of the one before.
                    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                    yield
                    return
            await anyio.sleep(RETRY_SECONDS / 5)
    raise SchemaError("another session holds the advisory lock of schema applications: see pg_locks")


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


class _Step(NamedTuple):
    """A part of the schema's text: `function NAME` and `index NAME` are left out where they are in place."""

    name: str
    sql: str


class _Application:
    """One application of the schema, over one connection."""

    def __init__(self, connection: "Connection", sql: str, remarks: list[str]) -> None:
        head, *parts = _STEP.split(sql.replace("\nBEGIN;\n", "\n").replace("\nCOMMIT;\n", "\n"))
        self._connection = connection
        self._remarks = remarks
        self._setup = head
        self._steps = [_Step(*step) for step in zip(parts[::2], parts[1::2], strict=True)]

    async def run(self) -> None:
        """Take every step that is not in place."""
        connection = self._connection
        async with self._transaction():
            schema = await connection.fetchval("SELECT quote_ident(current_schema())")
            has_rows = await connection.fetchval("SELECT to_regclass('bulk_enrichment_jobs') IS NOT NULL")
            has_rows = has_rows and await connection.fetchval(
                "SELECT EXISTS (SELECT FROM bulk_enrichment_jobs)"
            )
            steps = [step for step in self._steps if not await self._is_in_place(step)]
        if not has_rows:
            await self._take(steps)
            return
        for step in steps:
            if step.name.startswith("index "):
                await self._build_index(step, schema)
            while await self._take([step]):
                pass

    async def _is_in_place(self, step: _Step) -> bool:
        kind, _, name = step.name.partition(" ")
        if kind == "function":
            body = _FUNCTION_BODY.search(step.sql)
            assert body is not None
            return bool(await self._connection.fetchval(_IS_CURRENT_FUNCTION, name, body[1]))
        return kind == "index" and bool(await self._connection.fetchval(_IS_VALID_INDEX, name))

    async def _take(self, steps: Sequence[_Step]) -> bool:
        """Take *steps* in one transaction; return whether rows are left for another one."""
        remarks_before = len(self._remarks)
        for tries_left in reversed(range(LOCK_TRIES_MAX)):
            try:
                async with self._transaction():
                    for step in steps:
                        await self._connection.execute(step.sql)
                    again = await self._connection.fetchval(
                        "SELECT current_setting('progress_service.again', true)"
                    )
                    return bool(again)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                del self._remarks[remarks_before:]
                if not tries_left:
                    holders = await self._connection.fetchval(_LOCK_HOLDERS)
                    raise SchemaError(
                        f"bulk_enrichment_jobs is locked by other sessions ({holders or 'unknown'}). "
                        "Wait for their end or end them, and apply the schema again."
                    ) from error
            await anyio.sleep(RETRY_SECONDS)
        return False

    async def _build_index(self, step: _Step, schema: str) -> None:
        """Build an index without a lock that writers wait for; rows that violate it leave it to the step."""
        definition = _INDEX.search(step.sql)
        assert definition is not None
        unique, name, rest = definition.groups(default="")
        drop = f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}"
        await self._connection.execute("SET statement_timeout = 0")
        try:
            # What an interrupted build has left behind.
            await self._connection.execute(drop)
            await self._connection.execute(f"CREATE {unique}INDEX CONCURRENTLY {name} ON {schema}.{rest}")
        except asyncpg.UniqueViolationError:
            await self._connection.execute(drop)
        finally:
            await self._connection.execute("RESET statement_timeout")

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._connection.transaction(isolation="read_committed"):
            await self._connection.execute(self._setup)
            await self._connection.execute(
                f"SET LOCAL lock_timeout = {1e3 * LOCK_SECONDS_MAX:.0f};"
                f"SET LOCAL progress_service.rows_max = {ROWS_MAX}"
            )
            yield
