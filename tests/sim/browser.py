"""The simulated browser: a page with one stream, which keeps the rules of client/*.js.

It reduces events as `client/store.js` does, and comes back as `client/connection.js` does with a ticket.
"""

import asyncio
import random
from collections.abc import Callable

from progress_service.wire.frames import View
from tests.sim.response import Socket, Told
from tests.sim.virtual_time import OUTSIDE

BACKOFF_FIRST_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 30.0
RENEWAL_SECONDS = 3.0


class Browser:
    """A page with one stream: what it shows, and how it comes back.

    Args:
        name: Tells browsers apart.
        user_id: Whose token it has.
        view: How much it wants to be told.
        connect: Makes a request; its answer will arrive at the socket that this returns.
        loop: Keeps time.
        chance: For the jitter in its waiting.
    """

    def __init__(
        self,
        name: int,
        user_id: str,
        view: View,
        connect: Callable[["Browser"], Socket],
        *,
        loop: asyncio.AbstractEventLoop,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.user_id = user_id
        self.view = view
        self.jobs: dict[str, Told] = {}
        self.totals: Told = {}
        self.told_revisions: dict[str, int] = {}
        self.feed = "live"
        self.socket: Socket | None = None
        self.is_away = False
        self.renews = True
        self._connect = connect
        self._chance = chance
        self._failures = 0
        self._retry_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop

    def open(self) -> None:
        """Make a new attempt now, whatever the present one is at."""
        self.close()
        self.is_away = False
        self.socket = self._connect(self)

    def close(self) -> None:
        """Leave for good."""
        self.is_away = False
        socket = self.leave_behind()
        if socket is not None:
            socket.drop()

    def leave_behind(self) -> Socket | None:
        """Be gone without a word, so that the server does not know; what it still sends goes nowhere."""
        if self._timer is not None:
            self._timer.cancel()
        socket = self.socket
        if socket is not None:
            socket.stall()
            self.socket = None
        return socket

    def come_back(self) -> None:
        """Notice that the connection is gone, and try again after a while."""
        most = min(BACKOFF_FIRST_SECONDS * 2**self._failures, BACKOFF_SECONDS_MAX)
        wait = max(self._retry_seconds, most * (0.5 + self._chance.random() / 2))
        self._failures += 1
        self.is_away = True
        self._retry_seconds = 0.0
        self._timer = self._loop.call_later(wait, self.open, context=OUTSIDE)

    def closed(self, socket: Socket) -> None:
        """Hear that the server has ended a response."""
        if self.socket is socket:
            self.close()
            self.come_back()

    def take(self, event: str, told: Told) -> None:
        """Reduce one event to what is shown."""
        match event:
            case "snapshot":
                self.jobs = {job["id"]: job for job in told["jobs"]}
                self.totals, self.feed = told["totals"], told["feed"]
                self._arrived()
            case "compact":
                self.jobs = {told["job"]["id"]: told["job"]} if told["job"] else {}
                self.totals = told["totals"]
                self._arrived()
            case "job":
                before = self.jobs.get(told["id"])
                if before is None or told["revision"] >= before["revision"]:
                    self.jobs[told["id"]] = told
            case "removed":
                self.jobs.pop(told["id"], None)
            case "totals":
                self.totals = told
            case "feed":
                self.feed = told["state"]
            case "expiring" if self.renews:
                self._timer = self._loop.call_later(
                    RENEWAL_SECONDS * (0.5 + self._chance.random()), self.open, context=OUTSIDE
                )
            case "bye":
                self._retry_seconds = told["retry_ms"] / 1_000

    def _arrived(self) -> None:
        self._failures = 0
        self._retry_seconds = 0.0
