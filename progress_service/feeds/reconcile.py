"""The safety net: a slow comparison of what was told with what the table says.

A feed that works leaves nothing to it, so whatever it heals is counted and logged as a fault. What looks
amiss is mostly under way, so it has to look amiss twice.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio

from progress_service.core.events import Fact
from progress_service.core.model import Instant, Revision
from progress_service.feeds.database import LOOK_UP_SECONDS_MAX, look_up, revisions
from progress_service.feeds.following import Session
from progress_service.feeds.ledger import Ledger

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
# How soon it is looked again after something seemed to be amiss.
AGAIN_SECONDS = 5.0
HEALED_AT_ONCE_MAX = 5_000
ABREAST_SECONDS_MAX = 0.8
ABREAST_LOOK_SECONDS = 0.02
# A commit that waits for a standby is in the log, and in nobody's sight: the table says less than is true.
IS_SIGHT_BEHIND = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')"


class Reconciliation:
    """Compares, once in a while, and tells what was missed.

    Args:
        session: The feed's, which tells.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ledger = session.ledger
        self._due_at = Instant(session.now() + RECONCILE_SECONDS)
        # Jobs that looked amiss the last time, and the revisions that were told of them then.
        self._suspects: dict[str, Revision] = {}

    async def run_if_due(
        self, catch_up: Callable[[], Awaitable[object]], connection: "Connection | None" = None
    ) -> None:
        """Compare, if it is time.

        Args:
            catch_up: Returns once everything that was committed before it was called has been told.
            connection: Where to ask, if not on the session's own.
        """
        if self._session.now() < self._due_at:
            return
        connection = connection or self._session.connection
        if await connection.fetchval(IS_SIGHT_BEHIND, timeout=LOOK_UP_SECONDS_MAX):
            self._due_at = Instant(self._session.now() + RECONCILE_SECONDS)
            return
        told = dict(self._ledger.active)
        found = await revisions(connection, 0.0, self._ledger.shard)
        suspects = amiss(self._ledger, told, found)
        if suspects:
            # Most of what seems to be amiss is merely under way.
            await catch_up()
            suspects = amiss(self._ledger, told, found)
        # And some of it cannot be seen yet: a log tells of a commit a moment before. So once is no proof.
        proven = [job_id for job_id, revision in suspects.items() if self._suspects.get(job_id) == revision]
        self._suspects = suspects
        self._due_at = Instant(self._session.now() + (AGAIN_SECONDS if suspects else RECONCILE_SECONDS))
        if proven:
            await self._heal(proven[:HEALED_AT_ONCE_MAX], connection)

    async def _heal(self, job_ids: Sequence[str], connection: "Connection") -> None:
        """Tell what the table says of jobs, as far as that is news."""
        at = self._session.now()
        seen = await look_up(connection, job_ids)
        ledger = self._ledger
        missed = {job_id: row for job_id, row in seen.items() if row[0] > ledger.revision(job_id)}
        gone = [job_id for job_id in job_ids if job_id not in seen and job_id in ledger.active]
        facts: list[Fact] = [*self._session.reports(missed, at), *self._session.deletions(gone, at)]
        if facts:
            ledger.healed += len(facts)
            logger.error(
                "the feed had missed %d job(s), such as %s; they are told now", len(facts), job_ids[0]
            )
            self._session.tell(facts)


def amiss(ledger: Ledger, told: Mapping[str, Revision], found: Mapping[str, Revision]) -> dict[str, Revision]:
    """The jobs of which the table said more than is told by now, or nothing, each with what is told.

    What counts of the latter is what was *told* before the table was asked.
    """
    newer = {
        job_id: ledger.revision(job_id)
        for job_id, revision in found.items()
        if revision > ledger.revision(job_id) and not ledger.is_malformed(job_id)
    }
    absent = {
        job_id: told[job_id]
        for job_id in told.keys() - found.keys()
        if ledger.active.get(job_id) == told[job_id]
    }
    return newer | absent


async def until_abreast(connection: "Connection", ledger: Ledger) -> None:
    """Wait until a feed has told what the table shows now, or for `ABREAST_SECONDS_MAX` where it has not."""
    told = dict(ledger.active)
    found = await revisions(connection, 0.0, ledger.shard)
    with anyio.move_on_after(ABREAST_SECONDS_MAX) as scope:
        while amiss(ledger, told, found):  # noqa: ASYNC110 - a ledger tells nobody of its news.
            await anyio.sleep(ABREAST_LOOK_SECONDS)
    if scope.cancelled_caught:
        logger.warning("the feed is behind the table: some bars may step back for a moment")
