"""A second connection that speaks to a listening session, to know that it hears others and not only itself.

PostgreSQL hands a session its own notifications by another way than those of others, and after a failover the
session may still be held by a server that nobody writes to any more. The same connection compares, once in a
while, what was told with what is there.
"""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec

from progress_service.feeds.database import CHANNEL, SEND, Outage, cause, connected
from progress_service.feeds.following import Session
from progress_service.feeds.reconcile import Reconciliation

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)


class Canary:
    """Sings every few seconds; a session that does not hear it is given up.

    That the canary itself cannot connect proves nothing about the session, which then goes on by itself.

    Args:
        session: Which listens, and tells what the comparison found amiss.
        expect: Gives the event that a marker is heard, and with it everything that was sent before.
        give_up: Ends the session, for a reason.
        pulse_seconds: The time between two songs.
        reply_seconds_max: How long one may be under way.
    """

    def __init__(
        self,
        session: Session,
        *,
        expect: Callable[[str], anyio.Event],
        give_up: Callable[[str], None],
        pulse_seconds: float,
        reply_seconds_max: float,
    ) -> None:
        self._session = session
        self._expect = expect
        self._give_up = give_up
        self._pulse_seconds = pulse_seconds
        self._reply_seconds_max = reply_seconds_max
        self._reconciliation = Reconciliation(session)
        self._is_missed = False

    async def run(self) -> None:
        """Sing until the session is over."""
        while True:
            try:
                async with connected(self._session.feed.dsn, "progress_service canary") as connection:
                    self._is_missed = False
                    await self._sing_on(connection)
                    return
            except Outage as error:
                if not self._is_missed:
                    self._is_missed = True
                    logger.warning("the feed has no second connection to be checked from: %s", cause(error))
            await anyio.sleep(self._pulse_seconds)

    async def _sing_on(self, connection: "Connection") -> None:
        while await self._is_heard(connection):
            await self._reconciliation.run_if_due(partial(self._is_heard, connection), connection)
            await anyio.sleep(self._pulse_seconds)
        self._give_up("the session no longer hears what others send")

    async def _is_heard(self, connection: "Connection") -> bool:
        marker = secrets.token_hex(8)
        has_come = self._expect(marker)
        payload = msgspec.json.encode({"marker": marker}).decode()
        await connection.execute(SEND, CHANNEL, payload, timeout=self._reply_seconds_max)
        with anyio.move_on_after(self._reply_seconds_max):
            await has_come.wait()
        return has_come.is_set()
