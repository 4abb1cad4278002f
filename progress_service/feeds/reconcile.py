"""The safety net: a slow comparison of what was told with what the table says.

A feed that works leaves nothing to it, so whatever it heals is counted and logged as a fault.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from progress_service.core.model import Revision
from progress_service.feeds.database import LOOK_UP_SECONDS_MAX, revisions
from progress_service.feeds.following import Session
from progress_service.feeds.ledger import Ledger

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
HEALED_AT_ONCE_MAX = 5_000
# A commit that waits for a standby is in the log, and in nobody's sight: the table says less than is true.
IS_SIGHT_BEHIND = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')"


async def reconcile(
    session: Session, catch_up: Callable[[], Awaitable[object]], *, connection: "Connection | None" = None
) -> None:
    """Compare what was told with what is there, and tell what is amiss.

    Args:
        session: The feed's, which tells.
        catch_up: Returns once everything that was committed before it was called has been told.
        connection: Where to ask, if not on the session's own.
    """
    connection = connection or session.connection
    if await connection.fetchval(IS_SIGHT_BEHIND, timeout=LOOK_UP_SECONDS_MAX):
        return
    # What was told by now can be seen by now, so whatever of it is not found has gone.
    told = dict(session.ledger.active)
    found = await revisions(connection, 0.0)
    suspects = _amiss(session.ledger, told, found)
    if not suspects:
        return
    # Most of them are merely on their way.
    await catch_up()
    missed = [job_id for job_id in suspects if job_id in _amiss(session.ledger, told, found)]
    if missed:
        facts = await session.looked_up(missed[:HEALED_AT_ONCE_MAX], connection)
        session.ledger.healed += len(facts)
        logger.error("the feed had missed %d job(s), which are told now: %s …", len(facts), missed[0])
        session.tell(facts)


def _amiss(ledger: Ledger, told: dict[str, Revision], found: dict[str, Revision]) -> set[str]:
    """The jobs of which the table says more than was told, or nothing though no end was told."""
    newer = {
        job_id
        for job_id, revision in found.items()
        if revision > ledger.revision(job_id) and not ledger.is_malformed(job_id)
    }
    gone = {job_id for job_id in told.keys() - found.keys() if ledger.active.get(job_id) == told[job_id]}
    return newer | gone
