"""A temporary slot: this connection's place in the write-ahead log, and how dear it is to read on from there.

Each read decodes again from the slot's `restart_lsn`, which stays behind the oldest transaction that was open
then. PostgreSQL notes such places every 15 seconds; where we may, we have it do so when there is much to
decode. A transaction that stays open makes each read dearer than the last: then the log is not for us.
"""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import asyncpg

from progress_service.feeds.feed import UnfitError
from progress_service.feeds.intake import IntakeOverflowError

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)

# With the longest pause between two reads, below the 5 s within which an outage shows.
READ_SECONDS_MAX = 3.5
MAKE_SECONDS_MAX = 5.0
STATEMENT_SECONDS_MAX = 60.0
CHANGES_AT_ONCE = 10_000
# What one transaction may bring; above, a snapshot is cheaper.
MESSAGES_MAX = 200_000
TRIM_BYTES = 1 << 18
DISTANCE_BYTES_MAX = 64 << 20
READ_SECONDS_DEAR = 0.5
DEAR_READS_MAX = 5
FEW_MESSAGES = 1_000
SETTLE_TRIES = 20
SETTLE_SECONDS = 0.01

PLACE = """
    SELECT nspname AS schema, current_setting('wal_level') AS wal_level,
        EXISTS (
            SELECT FROM pg_publication_tables
            WHERE pubname = 'progress_service' AND schemaname = nspname AND tablename = relname
        ) AS is_published
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = 'bulk_enrichment_jobs'::regclass
"""
MAY_TRIM = """
    SELECT coalesce(has_function_privilege(to_regprocedure('pg_log_standby_snapshot()'), 'EXECUTE'), false)
"""
MAKE = "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)"
READ = """
    SELECT data FROM pg_logical_slot_get_binary_changes(
        $1, NULL, $2, 'proto_version', '1', 'publication_names', 'progress_service'
    ) LIMIT $3
"""
NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
OLDEST_TRANSACTION = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
DISTANCE = """
    SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn)::bigint
    FROM pg_replication_slots WHERE slot_name = $1
"""
LONGEST_OPEN = """
    SELECT format(
        'process %s (%s) has had a transaction open for %s s',
        pid, coalesce(nullif(application_name, ''), '?'),
        round(extract(epoch FROM clock_timestamp() - xact_start))
    )
    FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
    ORDER BY xact_start LIMIT 1
"""


async def published_schema(connection: "Connection") -> str:
    """The schema that has the table, once it is clear that the log tells of it.

    Raises:
        UnfitError: It does not; the text says what would help.
    """
    place = await connection.fetchrow(PLACE)
    assert place is not None
    if place["wal_level"] != "logical":
        raise UnfitError(f"wal_level is {place['wal_level']}; logical is needed, and a restart of PostgreSQL")
    if not place["is_published"]:
        raise UnfitError(
            "the publication progress_service lacks the table; progress-service schema --apply adds it"
        )
    return str(place["schema"])


class Slot:
    """A slot of a connection's own, which is gone when that is.

    Args:
        connection: Not pooled, and used by nobody else while a read is under way.
        name: Unique on the whole server.
    """

    def __init__(self, connection: "Connection", name: str) -> None:
        self.read_seconds = 0.0
        self.has_more = False
        self._connection = connection
        self._name = name
        self._may_trim = False
        self._dear_reads = 0
        # The first transaction that surely began after the slot, until all before it have come to light.
        self._horizon: int | None = None

    async def make(self) -> None:
        """Make the slot, which waits for every transaction that is open now.

        Raises:
            UnfitError: PostgreSQL has none for us, or a transaction stays open.
        """
        # Values come as text, in this session's style. No commit of ours needs to wait for a standby.
        await self._connection.execute(
            f"SET timezone = 'UTC'; SET datestyle = 'ISO'; SET synchronous_commit = 'local';"
            f"SET statement_timeout = {MAKE_SECONDS_MAX * 1e3:.0f}"
        )
        try:
            await self._connection.fetchval(MAKE, self._name, timeout=2 * MAKE_SECONDS_MAX)
        except asyncpg.QueryCanceledError:
            raise UnfitError(f"a slot has to wait: {await self._longest_open()}") from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise UnfitError(f"{error}; ALTER ROLE … REPLICATION would allow it") from None
        except asyncpg.ConfigurationLimitExceededError as error:
            raise UnfitError(f"{error} (max_replication_slots)") from None
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            raise UnfitError(str(error)) from None
        await self._connection.execute(f"SET statement_timeout = {STATEMENT_SECONDS_MAX * 1e3:.0f}")
        self._may_trim = await self._connection.fetchval(MAY_TRIM)
        await self.settle()

    async def settle(self) -> None:
        """Wait a little for commits that are in the log already, and that nobody can see yet."""
        self._horizon = await self._connection.fetchval(NEXT_TRANSACTION)
        for _ in range(SETTLE_TRIES):
            if await self._has_settled():
                return
            await anyio.sleep(SETTLE_SECONDS)

    async def flush(self) -> None:
        """Make sure that the log on disk, which is what can be read, has every commit until now."""
        await self._connection.execute("SELECT pg_logical_emit_message(true, 'progress_service', '')")

    async def read(self) -> Sequence[bytes]:
        """The next messages. `has_more` says whether others are waiting behind them.

        Raises:
            IntakeOverflowError: A transaction was too large; what was read of it is gone.
        """
        began = time.monotonic()
        found = await self._connection.fetch(
            READ, self._name, CHANGES_AT_ONCE, MESSAGES_MAX + 1, timeout=READ_SECONDS_MAX
        )
        self.read_seconds = time.monotonic() - began
        is_dear = self.read_seconds > READ_SECONDS_DEAR and len(found) < FEW_MESSAGES
        self._dear_reads = self._dear_reads + 1 if is_dear else 0
        self.has_more = len(found) >= CHANGES_AT_ONCE
        if len(found) > MESSAGES_MAX:
            raise IntakeOverflowError
        return [row[0] for row in found]

    async def has_settled_only_now(self) -> bool:
        """Whether transactions that were half done when we last settled have come to light since.

        Their commits may stand in the log before what we read of it, and be visible only after the snapshot;
        then another one is needed. True at most once.
        """
        return self._horizon is not None and await self._has_settled()

    async def check(self) -> None:
        """Keep the way short that each read has to decode.

        Raises:
            UnfitError: It has become too long all the same.
        """
        distance_bytes = await self._connection.fetchval(DISTANCE, self._name)
        if distance_bytes is None:
            raise UnfitError("PostgreSQL has given up our slot")
        if distance_bytes > DISTANCE_BYTES_MAX or self._dear_reads >= DEAR_READS_MAX:
            raise UnfitError(
                f"a read decodes {distance_bytes / 1e6:.0f} MB of log again, in {self.read_seconds:.1f} s: "
                f"{await self._longest_open()}"
            )
        if distance_bytes > TRIM_BYTES and self._may_trim:
            await self._connection.execute("SELECT pg_log_standby_snapshot()")

    async def _has_settled(self) -> bool:
        oldest = await self._connection.fetchval(OLDEST_TRANSACTION)
        if self._horizon is None or oldest < self._horizon:
            return False
        self._horizon = None
        return True

    async def _longest_open(self) -> str:
        return await self._connection.fetchval(LONGEST_OPEN) or "much is written to this server"
