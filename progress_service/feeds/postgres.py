"""PostgreSQL connections of the change feed: connect, pool mode, errors, and fitness of the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio
import asyncpg
from asyncpg.connect_utils import SessionAttribute

from progress_service.concurrency import retry_delay_seconds
from progress_service.wire.pgoutput import ProtocolError

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_TIMEOUT_SECONDS = 5.0
QUERY_TIMEOUT_SECONDS = 4.0
# A database that is back is found within 2 s.
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.2, 1.5
CHANNEL_PREFIX = "bulk_enrichment_jobs."
"""The schema's name follows, so that two copies of the table in one database do not hear each other."""

APPLY_SCHEMA = "run `progress-service schema --apply`"

# What may go wrong between here and PostgreSQL. Anything else is a defect of ours and must not be hidden.
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # A connection that is cut at an odd moment confuses asyncpg's own bookkeeping.
    asyncpg.InternalClientError,
    ProtocolError,
)

# A role that loses its right to all rows must notice, and not take the hidden ones for deleted.
ALL_ROWS_OR_ERROR = "SET row_security = off"

TABLE = """
    SELECT nspname AS schema,
        row_security_active(pg_class.oid) AS rows_are_hidden,
        has_table_privilege(pg_class.oid, 'SELECT') AS may_read,
        EXISTS (
            SELECT FROM pg_roles WHERE rolname = 'authenticated' AND pg_has_role(oid,
                CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
        ) AS may_act_for_users,
        NOT EXISTS (
            SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND contype = 'c' AND NOT convalidated
        ) AS is_validated,
        ARRAY(
            SELECT tgname::text || CASE WHEN tgnargs > 0 THEN ' no_notify' ELSE '' END FROM pg_trigger
            WHERE tgrelid = pg_class.oid AND NOT tgisinternal AND tgenabled IN ('O', 'A')
        ) AS triggers
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass('bulk_enrichment_jobs')
"""
REVISION_TRIGGER = "zz_bump_revision"
NOTIFY_TRIGGERS = frozenset({REVISION_TRIGGER, "notify_delete", "notify_truncate"})


class FeedUnsupported(Exception):
    """This source of hints cannot work on this database as it is; the text says why and what would help."""


class DatabaseUnusable(Exception):
    """No source can work on this database as it is. The text names the remedy, and neither host nor role."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table, as the catalog describes it.

    `is_validated` when no row can break a CHECK constraint; older rows may where one is NOT VALID.
    """

    schema: str
    is_validated: bool
    sends_notifications: bool

    @property
    def channel(self) -> str:
        """The channel on which the triggers send the ids of changed jobs."""
        return CHANNEL_PREFIX + self.schema


class PoolMode(StrEnum):
    """What answers: PostgreSQL's own process, or a pooler with one of its server connections."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


@asynccontextmanager
async def connect(
    dsn: str, name: str = "progress_service feed", *, pool_mode: PoolMode = PoolMode.NONE
) -> AsyncIterator["Connection"]:
    """A connection to the primary, cut at the end: a polite close can take longer than an outage allows.

    Args:
        dsn: One host or several; the first that takes writes is used.
        name: What `pg_stat_activity` shows as `application_name`.
        pool_mode: Behind a pooler in transaction mode nothing is kept in the session.
    """
    is_shared = pool_mode is PoolMode.TRANSACTION
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=QUERY_TIMEOUT_SECONDS,
        target_session_attrs=SessionAttribute.any if is_shared else SessionAttribute.read_write,
        statement_cache_size=0 if is_shared else 100,
        server_settings={"application_name": name},
    )
    try:
        if not is_shared:
            await connection.execute(ALL_ROWS_OR_ERROR)
        yield connection
    finally:
        connection.terminate()


async def describe_table(connection: "Connection") -> Table:
    """The table, once it is clear that this role can read it and act for its users.

    Raises:
        DatabaseUnusable: It cannot; the text names the remedy.
    """
    # A prepared statement must be executed where it was prepared, and so within one transaction.
    async with connection.transaction(readonly=True):
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise asyncpg.ReadOnlySQLTransactionError("this PostgreSQL is a standby, and not the primary")
        found = await connection.fetchrow(TABLE)
    if found is None:
        raise DatabaseUnusable(
            f"the table bulk_enrichment_jobs is missing, or not in the search_path: {APPLY_SCHEMA}"
        )
    triggers = frozenset(found["triggers"])
    if triggers.isdisjoint({REVISION_TRIGGER, f"{REVISION_TRIGGER} no_notify"}):
        raise DatabaseUnusable(
            f"the trigger {REVISION_TRIGGER} of bulk_enrichment_jobs is missing or disabled: {APPLY_SCHEMA}"
        )
    if not found["may_read"]:
        raise DatabaseUnusable(
            "this role may not read bulk_enrichment_jobs: connect as the owner of the table"
        )
    if found["rows_are_hidden"]:
        raise DatabaseUnusable(
            "row-level security hides rows of bulk_enrichment_jobs from this role: connect as the owner of "
            "the table, or make this role its owner (ALTER TABLE bulk_enrichment_jobs OWNER TO …)"
        )
    if not found["may_act_for_users"]:
        raise DatabaseUnusable(
            "the role authenticated, as which requests of users run, is missing or not granted to this role: "
            f"{APPLY_SCHEMA}"
        )
    return Table(found["schema"], found["is_validated"], triggers >= NOTIFY_TRIGGERS)


async def detect_pool_mode(dsn: str) -> PoolMode:
    """Whether a pooler is in between, and in which mode. Nothing is left behind in its sessions.

    A pooler gives its clients process numbers of its own. Where two clients are answered by one process,
    sessions are shared. A pooler that has several server connections at hand may look as if it kept sessions
    apart; then LISTEN fails its check later.
    """
    with anyio.fail_after(2 * CONNECT_TIMEOUT_SECONDS):
        async with connect(dsn, pool_mode=PoolMode.TRANSACTION) as first:
            answering = await _server_process(first)
            if answering == first.get_server_pid():
                return PoolMode.NONE
            async with connect(dsn, pool_mode=PoolMode.TRANSACTION) as second:
                is_shared = await _server_process(second) == answering
    return PoolMode.TRANSACTION if is_shared else PoolMode.SESSION


async def _server_process(connection: "Connection") -> int:
    async with connection.transaction():
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid


def retry_seconds(failures: int) -> float:
    """The delay before the next try to follow the database, after so many *failures* before this one."""
    return retry_delay_seconds(failures, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX)


def describe_error(error: BaseException) -> str:
    """What went wrong, in one line for the log."""
    match error:
        case (
            asyncpg.UndefinedTableError() | asyncpg.UndefinedFunctionError() | asyncpg.UndefinedColumnError()
        ):
            return f"{error} (the schema is missing or old: {APPLY_SCHEMA})"
        case _:
            return " ".join(str(error).split()) or type(error).__name__
