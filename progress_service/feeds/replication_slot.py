"""A temporary logical replication slot, read by SQL, and the cost of reading it.

Each read decodes again from the slot's `restart_lsn`, which stays behind the oldest transaction that was open
then. PostgreSQL records such places every 15 seconds; where this role may, it asks for one when there is much
to decode. A transaction that stays open makes each read cost more than the last: then the log is no source.
"""

import secrets
import time
from typing import TYPE_CHECKING

import asyncpg

from progress_service.feeds.postgres import FeedUnsupported

if TYPE_CHECKING:
    from progress_service.feeds.postgres import Connection

# With the longest pause between two reads, below the 5 s within which an outage shows.
READ_TIMEOUT_SECONDS = 3.5
CREATE_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 60.0
CHANGES_AT_ONCE = 10_000
MESSAGES_MAX = 200_000
"""What one transaction may bring; above, comparing all revisions is cheaper."""

ADVANCE_RESTART_LSN_BYTES = 1 << 18
RETAINED_BYTES_MAX = 64 << 20
SLOW_READ_SECONDS = 0.5
SLOW_READS_MAX = 5
FEW_MESSAGES = 1_000

PREREQUISITES = """
    SELECT current_setting('wal_level') AS wal_level, EXISTS (
        SELECT FROM pg_publication_tables
        WHERE pubname = 'progress_service' AND schemaname = $1 AND tablename = 'bulk_enrichment_jobs'
    ) AS is_published
"""
MAY_ADVANCE = """
    SELECT coalesce(has_function_privilege(to_regprocedure('pg_log_standby_snapshot()'), 'EXECUTE'), false)
"""
CREATE = "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)"
READ = """
    SELECT data FROM pg_logical_slot_get_binary_changes(
        $1, NULL, $2, 'proto_version', '1', 'publication_names', 'progress_service'
    ) LIMIT $3
"""
NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
OLDEST_TRANSACTION = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
RETAINED_WAL = """
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


class ReplicationSlot:
    """A slot of one connection, which is gone when that is.

    Args:
        connection: Not pooled, and used by nothing else while a read is under way.
    """

    def __init__(self, connection: "Connection") -> None:
        self.read_seconds = 0.0
        self.has_more = False
        self._connection = connection
        self._name = f"progress_service_{secrets.token_hex(8)}"
        self._may_advance = False
        self._slow_reads = 0
        # The first transaction that surely began after the slot.
        self._horizon: int | None = None

    async def create(self, schema: str) -> None:
        """Create the slot, which waits for every transaction that is open now.

        Raises:
            FeedUnsupported: The log cannot be read here, or a transaction stays open.
        """
        found = await self._connection.fetchrow(PREREQUISITES, schema)
        assert found is not None
        if found["wal_level"] != "logical":
            raise FeedUnsupported(
                f"wal_level is {found['wal_level']}; logical is needed, and a restart of PostgreSQL"
            )
        if not found["is_published"]:
            raise FeedUnsupported(
                "the publication progress_service lacks the table; `progress-service schema --apply` adds it"
            )
        # No commit of this session has to wait for a standby.
        await self._connection.execute(
            f"SET synchronous_commit = 'local'; SET statement_timeout = {CREATE_TIMEOUT_SECONDS * 1e3:.0f}"
        )
        try:
            await self._connection.fetchval(CREATE, self._name, timeout=2 * CREATE_TIMEOUT_SECONDS)
        except asyncpg.QueryCanceledError:
            raise FeedUnsupported(f"a slot has to wait: {await self._longest_open()}") from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise FeedUnsupported(f"{error}; ALTER ROLE … REPLICATION would allow it") from None
        except asyncpg.ConfigurationLimitExceededError as error:
            raise FeedUnsupported(f"{error} (max_replication_slots)") from None
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            raise FeedUnsupported(str(error)) from None
        await self._connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_SECONDS * 1e3:.0f}")
        self._may_advance = await self._connection.fetchval(MAY_ADVANCE)
        await self.wait_for_inflight_commits()

    async def wait_for_inflight_commits(self) -> None:
        """Have `inflight_commits_became_visible` say when all transactions of this moment are over."""
        self._horizon = await self._connection.fetchval(NEXT_TRANSACTION)

    async def read(self) -> list[bytes] | None:
        """The next messages; None where a transaction had too many. `has_more` says whether more wait."""
        began = time.monotonic()
        found = await self._connection.fetch(
            READ, self._name, CHANGES_AT_ONCE, MESSAGES_MAX + 1, timeout=READ_TIMEOUT_SECONDS
        )
        self.read_seconds = time.monotonic() - began
        is_slow = self.read_seconds > SLOW_READ_SECONDS and len(found) < FEW_MESSAGES
        self._slow_reads = self._slow_reads + 1 if is_slow else 0
        self.has_more = len(found) >= CHANGES_AT_ONCE
        return None if len(found) > MESSAGES_MAX else [row[0] for row in found]

    async def inflight_commits_became_visible(self) -> bool:
        """Whether the last transaction that was waited for is over. True once.

        A commit that waits for a synchronous standby stands in the log and is not visible yet. When a slot is
        created, it may stand before the slot's start.
        """
        if self._horizon is None or await self._connection.fetchval(OLDEST_TRANSACTION) < self._horizon:
            return False
        self._horizon = None
        return True

    async def check_retained_wal(self) -> None:
        """Keep the log short that each read has to decode again.

        Raises:
            FeedUnsupported: It has become too long all the same.
        """
        retained_bytes = await self._connection.fetchval(RETAINED_WAL, self._name)
        if retained_bytes is None:
            raise FeedUnsupported("PostgreSQL has dropped the slot")
        if retained_bytes > RETAINED_BYTES_MAX or self._slow_reads >= SLOW_READS_MAX:
            raise FeedUnsupported(
                f"a read decodes {retained_bytes / 1e6:.0f} MB of log again, in {self.read_seconds:.1f} s: "
                f"{await self._longest_open()}"
            )
        if retained_bytes > ADVANCE_RESTART_LSN_BYTES and self._may_advance:
            await self._connection.execute("SELECT pg_log_standby_snapshot()")

    async def _longest_open(self) -> str:
        return await self._connection.fetchval(LONGEST_OPEN) or "much is written to this server"
