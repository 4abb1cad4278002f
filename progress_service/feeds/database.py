"""What every feed asks of PostgreSQL, and how: connections, queries, and what counts as an outage."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import anyio
import asyncpg
from asyncpg.connect_utils import SessionAttribute

from progress_service.core.shard import Shard
from progress_service.feeds.intake import IntakeClosedError
from progress_service.retries import pause_seconds
from progress_service.wire.pgoutput import ProtocolError

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CHANNEL = "bulk_enrichment_jobs"
CONNECT_SECONDS_MAX = 5.0
LOOK_UP_SECONDS_MAX = 4.0
# A cold and large table may need long for its first rows; each attempt that fails allows the next one more.
PATIENCE_SECONDS_MAX = 64.0
# A database that is back is found within 2 s.
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.2, 1.5
FETCHED_AT_ONCE = 5_000

# Whether a user is of the shard that has number $3 of $2, as `core/shard` says it.
_OF_SHARD = """
    ($2::int = 1
        OR 1 + ('x' || left(encode(sha256(user_id::text::bytea), 'hex'), 8))::bit(32)::bigint % $2 = $3)
"""
# Beside each report, the id again if there may be more in the row than is seen, of which nobody is told.
SNAPSHOT = f"""
    SELECT bulk_enrichment_job_report(job),
        CASE WHEN finished_at IS NULL AND told_at IS NOT NULL
            AND (told_at > now() - bulk_enrichment_jobs_silence() OR xmax <> 0) THEN id::text END
    FROM bulk_enrichment_jobs AS job
    WHERE (status IN ('pending', 'running', 'paused') OR finished_at > now() - make_interval(secs => $1))
        AND {_OF_SHARD}
"""  # noqa: S608 - of constants.
LOOK_UP = """
    SELECT id::text, revision, bulk_enrichment_job_report(job) FROM bulk_enrichment_jobs AS job
    WHERE id = ANY($1::uuid[])
"""
# Of rows that we know as of some revision: those that are newer, and those in which there may be more than
# is seen. now() lies before the sight that the statement has of the table, and xmax is read after it: where a
# row is neither young nor locked, nothing is hidden, and what comes later is told (docs/decisions/0013).
LOOK_AGAIN = """
    SELECT job.id::text,
        CASE WHEN job.revision > known.revision THEN bulk_enrichment_job_report(job) END,
        coalesce(told_at > now() - bulk_enrichment_jobs_silence(), false),
        told_at IS NOT NULL AND job.xmax <> 0,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    FROM unnest($1::uuid[], $2::bigint[]) AS known (id, revision) JOIN bulk_enrichment_jobs AS job USING (id)
    WHERE job.revision > known.revision
        OR told_at IS NOT NULL AND (told_at > now() - bulk_enrichment_jobs_silence() OR job.xmax <> 0)
"""
REVISIONS = f"""
    SELECT id::text, revision FROM bulk_enrichment_jobs
    WHERE (status IN ('pending', 'running', 'paused') OR finished_at > now() - make_interval(secs => $1))
        AND {_OF_SHARD}
"""  # noqa: S608 - of constants.
# What we send is about what is committed already: it need not wait for a standby to have it, too. The setting
# is for this one transaction, lest a pooler hands it on to the application.
SEND = "SELECT set_config('synchronous_commit', 'local', true), pg_notify($1, $2)"
LISTENING = "SELECT pg_listening_channels()"
TELLING_TRIGGERS = """
    SELECT count(*) FROM pg_trigger
    WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND tgenabled IN ('O', 'A')
        AND tgname IN ('tell_of_inserts', 'tell_of_updates', 'tell_of_deletes', 'tell_of_truncation')
        AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'bulk_enrichment_jobs'::regclass
            AND tgname = 'zz_keep_order' AND tgnargs = 0)
"""

# What may go wrong between here and PostgreSQL. Anything else is a mistake of ours and must not be hidden.
Outage = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # A connection that is cut at an odd moment confuses asyncpg's own bookkeeping.
    asyncpg.InternalClientError,
    IntakeClosedError,
    ProtocolError,
)


@asynccontextmanager
async def connected(
    dsn: str, name: str = "progress_service feed", *, through_pooler: bool = False
) -> AsyncIterator["Connection"]:
    """A connection to the primary that is cut at the end, for good manners take longer than an outage allows.

    Args:
        dsn: Of the primary.
        name: What the connection is called in `pg_stat_activity`.
        through_pooler: Keep nothing in the session, which may be another one for each transaction.
    """
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS_MAX,
        # Of whatever has no limit of its own.
        command_timeout=LOOK_UP_SECONDS_MAX,
        target_session_attrs=SessionAttribute.any if through_pooler else SessionAttribute.primary,
        statement_cache_size=0 if through_pooler else 100,
        server_settings={"application_name": name},
    )
    try:
        yield connection
    finally:
        connection.terminate()


class Sight(NamedTuple):
    """What a second look at a job showed.

    Args:
        report: Its report as JSON, if that is news.
        is_young: The silence after it was last told is not over.
        is_locked: A transaction may have written to it that is still open.
        oldest_open: The number of the oldest transaction that was open then.
        next_transaction: The number that the next transaction was to get.
    """

    report: str | None
    is_young: bool
    is_locked: bool
    oldest_open: int
    next_transaction: int


class Pooling(StrEnum):
    """Who answers us: PostgreSQL's own process, or a pooler with one of its many."""

    NONE = "none"
    BY_SESSION = "session"
    BY_TRANSACTION = "transaction"


async def pooling(dsn: str) -> Pooling:
    """Find out whether a pooler is in between, and leave nothing behind in its sessions.

    A pooler gives its clients numbers of its own in place of that of the process which answers. Where two
    clients are answered by one process, sessions are shared. A pooler that has several at hand may look as if
    it kept them apart; then it is found out later.
    """
    with anyio.fail_after(2 * CONNECT_SECONDS_MAX):
        async with connected(dsn, through_pooler=True) as first:
            answering = await _answering(first)
            if answering == first.get_server_pid():
                return Pooling.NONE
            async with connected(dsn, through_pooler=True) as second:
                is_shared = await _answering(second) == answering
    return Pooling.BY_TRANSACTION if is_shared else Pooling.BY_SESSION


async def _answering(connection: "Connection") -> int:
    # What was prepared must be executed by the same process, and so within one transaction.
    async with connection.transaction():
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid


async def look_up(connection: "Connection", job_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """The rows of these ids that are there to be seen: of each its revision, and its report as JSON."""
    found = await connection.fetch(LOOK_UP, job_ids, timeout=LOOK_UP_SECONDS_MAX)
    return {job_id: (revision, report) for job_id, revision, report in found}


async def look_again(connection: "Connection", known: Mapping[str, int]) -> dict[str, Sight]:
    """What there is to be seen of jobs that are known as of these revisions, if it is of interest."""
    found = await connection.fetch(LOOK_AGAIN, [*known], [*known.values()], timeout=LOOK_UP_SECONDS_MAX)
    return {job_id: Sight(*seen) for job_id, *seen in found}


async def revisions(connection: "Connection", finished_seconds: float, shard: Shard) -> dict[str, int]:
    """The revision of each row of a shard that is at work, or finished at most that long ago."""
    found: dict[str, int] = {}
    async with aclosing(pieces(connection, REVISIONS, finished_seconds, shard)) as coming:
        async for piece in coming:
            found.update((job_id, revision) for job_id, revision in piece)
    return found


async def pieces(
    connection: "Connection",
    query: str,
    finished_seconds: float,
    shard: Shard,
    piece_seconds_max: float = LOOK_UP_SECONDS_MAX,
) -> AsyncGenerator[Sequence[asyncpg.Record], None]:
    """What *query* finds of a shard, as of one moment and piece by piece.

    A hundred thousand rows then stop nobody else while they are read, and a connection that has gone deaf
    shows after *piece_seconds_max*.
    """
    async with connection.transaction(readonly=True):
        parameters = (finished_seconds, shard.count, shard.number)
        cursor = await connection.cursor(query, *parameters, timeout=piece_seconds_max)
        while piece := await cursor.fetch(FETCHED_AT_ONCE, timeout=piece_seconds_max):
            yield piece


def patience_seconds(failures: int) -> float:
    """How long a piece of a snapshot may take, after so many attempts that failed."""
    return min(PATIENCE_SECONDS_MAX, LOOK_UP_SECONDS_MAX * (1 << min(failures, 10)))


def retry_seconds(failures: int) -> float:
    """The time until the next try to follow the database, after so many *failures* before this one."""
    return pause_seconds(failures, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX)


def cause(error: BaseException) -> str:
    """What went wrong, in a line for the log."""
    match error:
        case (
            asyncpg.UndefinedTableError() | asyncpg.UndefinedFunctionError() | asyncpg.UndefinedColumnError()
        ):
            return f"{error} (the schema is missing or old: run `progress-service schema --apply`)"
        case _:
            return str(error) or type(error).__name__
