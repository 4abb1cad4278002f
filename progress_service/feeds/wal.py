"""Source of hints: the write-ahead log, for `wal_level = logical`. It adds no notification to writers.

A temporary slot is created first, all rows are read then, and the log is read from the slot on. The log can
run ahead of what is visible: a commit that waits for a synchronous standby is in the log and in no snapshot.
So a hint is repeated until the read row shows the revision that the log has.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from progress_service.core.model import Instant, Revision
from progress_service.feeds.postgres import Table, connect
from progress_service.feeds.reader import EventSink, Reader
from progress_service.feeds.replication_slot import ReplicationSlot
from progress_service.wire.pgoutput import RowDeleted, RowUpserted, TableTruncated, decode_changes

BUSY_SECONDS = 0.01
IDLE_SECONDS_MAX = 0.1
NO_JOBS_SECONDS_MAX = 0.25
IDLE_TO_BUSY_RATIO = 3
"""Reading takes at most a quarter of the time, however much it costs, so that it does not starve writers."""

REST_SECONDS_MAX = 1.0
INVISIBLE_RETRY_SECONDS = 0.05
INVISIBLE_SECONDS_MAX = 30.0
CHECK_SECONDS = 0.25

ABSENT: Final = -1
"""The expected revision of a deleted row."""


class WalSource:
    """Hints from the write-ahead log. `follow` makes one."""

    kind: Final = "wal"

    def __init__(
        self,
        slot: ReplicationSlot,
        schema: str,
        reader: Reader,
        sink: EventSink,
        *,
        clock: Callable[[], Instant],
        request_comparison: Callable[[], None],
    ) -> None:
        self._slot = slot
        self._schema = schema
        self._reader = reader
        self._sink = sink
        self._clock = clock
        self._request_comparison = request_comparison
        # What the log says of jobs that were not read since, and until when that is waited for.
        self._expected: dict[str, tuple[Revision, Instant]] = {}
        self._invisible: list[str] = []
        self._pruned_at = clock()

    @classmethod
    @asynccontextmanager
    async def follow(
        cls,
        dsn: str,
        table: Table,
        reader: Reader,
        sink: EventSink,
        *,
        clock: Callable[[], Instant],
        request_comparison: Callable[[], None],
    ) -> AsyncIterator["WalSource"]:
        """A source that hints at every change that is committed from now on, on a connection of its own.

        Raises:
            FeedUnsupported: The log cannot be read here.
        """
        async with connect(dsn, "progress_service wal") as connection:
            slot = ReplicationSlot(connection)
            await slot.create(table.schema)
            source = cls(slot, table.schema, reader, sink, clock=clock, request_comparison=request_comparison)
            reader.on_read = source.compare_with_log
            yield source

    async def run(self) -> None:
        """Read the log until that fails.

        Raises:
            FeedUnsupported: Reading it has become too expensive.
        """
        pause_seconds = BUSY_SECONDS
        check_at = self._clock() + CHECK_SECONDS
        while True:
            messages = await self._slot.read()
            if messages is None:
                # The commit may not be visible yet, so the comparison comes once it is.
                await self._slot.wait_for_inflight_commits()
            else:
                self._hint(messages)
            if self._clock() >= check_at:
                check_at = self._clock() + CHECK_SECONDS
                await self._slot.check_retained_wal()
                if await self._slot.inflight_commits_became_visible():
                    self._request_comparison()
                self._give_up()
            pause_seconds = self._longer(pause_seconds) if messages == [] else BUSY_SECONDS
            if not self._slot.has_more:
                rest_seconds = min(IDLE_TO_BUSY_RATIO * self._slot.read_seconds, REST_SECONDS_MAX)
                await asyncio.sleep(max(pause_seconds, rest_seconds))
            self._hint_again()

    def compare_with_log(self, revisions: Mapping[str, Revision | None]) -> None:
        """Note which of the rows that were just read do not show yet what the log says."""
        for job_id, revision in revisions.items():
            if (expected := self._expected.get(job_id)) is None:
                continue
            wanted, give_up_at = expected
            is_visible = revision is None if wanted == ABSENT else revision is not None and revision >= wanted
            if is_visible or self._clock() >= give_up_at:
                del self._expected[job_id]
            else:
                self._invisible.append(job_id)

    def _hint(self, messages: list[bytes]) -> None:
        give_up_at = Instant(self._clock() + INVISIBLE_SECONDS_MAX)
        for change in decode_changes(messages, self._schema, "bulk_enrichment_jobs"):
            match change:
                case RowUpserted(job_id, revision):
                    # A heartbeat leaves the revision as it is, and there is nothing to read.
                    if self._sink.revision(job_id) == revision and job_id not in self._expected:
                        continue
                    self._expected[job_id] = revision, give_up_at
                    self._reader.hint(job_id)
                case RowDeleted(job_id):
                    self._expected[job_id] = ABSENT, give_up_at
                    self._reader.hint(job_id)
                case TableTruncated():
                    for job_id in {*self._sink.job_ids(), *self._expected}:
                        self._expected[job_id] = ABSENT, give_up_at
                        self._reader.hint(job_id)

    def _give_up(self) -> None:
        """Wait no longer for rows whose time is over; their hints were dropped, or are read without end."""
        now = self._clock()
        if self._expected and now >= self._pruned_at + INVISIBLE_SECONDS_MAX:
            self._pruned_at = now
            self._expected = {each: wait for each, wait in self._expected.items() if wait[1] > now}

    def _hint_again(self) -> None:
        invisible, self._invisible = self._invisible, []
        for job_id in invisible:
            self._reader.hint(job_id)

    def _longer(self, pause_seconds: float) -> float:
        if self._expected:
            return INVISIBLE_RETRY_SECONDS
        longest = IDLE_SECONDS_MAX if self._sink.job_ids() else NO_JOBS_SECONDS_MAX
        return min(1.5 * pause_seconds, longest)
