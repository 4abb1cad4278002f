"""The simulated browser: a page with one stream, which keeps the rules of client/*.js.

It reduces events as `client/store.js` does, and comes back as `client/connection.js` does with a ticket.
"""

import asyncio
import random
from collections.abc import Callable

from progress_service.wire.frames import View
from tests.sim.response import Data, Socket
from tests.sim.virtual_time import OUTSIDE

BACKOFF_FIRST_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 30.0
RENEWAL_SECONDS = 3.0


class Browser:
    """A page with one stream: what it shows, and how it comes back.

    Args:
        name: Tells browsers apart.
        user_id: Whose token it has.
        view: The view of its stream.
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
        self.jobs: dict[str, Data] = {}
        self.totals: Data = {}
        # The versions of rows that were received, and the latest of each job.
        self.received: set[int] = set()
        self.latest: dict[str, int] = {}
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
        """Open a new stream now."""
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
        """Leave without the server's knowledge; what it still sends is lost."""
        if self._timer is not None:
            self._timer.cancel()
        socket = self.socket
        if socket is not None:
            socket.stall()
            self.socket = None
        return socket

    def come_back(self) -> None:
        """Notice that the connection is gone, and retry after a delay."""
        most = min(BACKOFF_FIRST_SECONDS * 2**self._failures, BACKOFF_SECONDS_MAX)
        wait = max(self._retry_seconds, most * (0.5 + self._chance.random() / 2))
        self._failures += 1
        self.is_away = True
        self._retry_seconds = 0.0
        self._timer = self._loop.call_later(wait, self.open, context=OUTSIDE)

    def closed(self, socket: Socket) -> None:
        """The server has ended a response."""
        if self.socket is socket:
            self.close()
            self.come_back()

    def apply(self, event: str, data: Data) -> None:
        """Reduce one event to what is shown."""
        match event:
            case "snapshot":
                self.jobs = {job["id"]: job for job in data["jobs"]}
                self.totals, self.feed = data["totals"], data["feed"]
                self._arrived()
            case "compact":
                self.jobs = {data["job"]["id"]: data["job"]} if data["job"] else {}
                self.totals = data["totals"]
                self._arrived()
            case "job":
                before = self.jobs.get(data["id"])
                if before is None or data["revision"] >= before["revision"]:
                    self.jobs[data["id"]] = data
            case "removed":
                self.jobs.pop(data["id"], None)
            case "totals":
                self.totals = data
            case "feed":
                self.feed = data["state"]
            case "expiring" if self.renews:
                self._timer = self._loop.call_later(
                    RENEWAL_SECONDS * (0.5 + self._chance.random()), self.open, context=OUTSIDE
                )
            case "bye":
                self._retry_seconds = data["retry_ms"] / 1_000

    def _arrived(self) -> None:
        self._failures = 0
        self._retry_seconds = 0.0
