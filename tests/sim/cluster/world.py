"""The world of a cluster's schedule: real relays and edges, and all that is around them simulated.

Database ─▶ NotifyFeed, Publisher, Relay ─▶ Nats ─▶ Edge, Hub, Stream ─▶ Browser
(simulated)         (real, two of them)  (simulated)  (real, two)        (simulated)
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar
from unittest.mock import patch

from anyio.abc import TaskGroup

from progress_service.cluster import following, outbox
from progress_service.cluster import line as lines
from progress_service.cluster.edge import RENEW_SECONDS
from progress_service.core.events import FeedState
from progress_service.core.model import FINISHED
from progress_service.feeds import leader
from progress_service.feeds.database import Pooling
from progress_service.streams.stream import Stream
from tests.sim.browser import Browser
from tests.sim.cluster.lock import Lock
from tests.sim.cluster.nats import Nats
from tests.sim.cluster.parts import EdgePart, Part, RelayPart
from tests.sim.cluster.processes import PROCESS, ProcessLoop
from tests.sim.pages import PageLaws
from tests.sim.pictures import Pictures
from tests.sim.response import Socket, Told
from tests.sim.session import Session
from tests.sim.surroundings import Surroundings
from tests.sim.virtual_time import VirtualLoop
from tests.sim.world import database_simulated

RELAYS, EDGES = 2, 2
NAMES = (*(f"relay {n}" for n in range(RELAYS)), *(f"edge {n}" for n in range(EDGES)))
MESSAGES_MAX = 12
KEPT_MAX = 4
CALM_SECONDS = RENEW_SECONDS + 1.5
"""So long after the last fault it shows, at the latest, that the last message of all was lost."""


class ClusterLaws(PageLaws):
    """As between one process and its pages; and what ends is not merely missing in the next snapshot."""

    def on_event(self, socket: Socket, event: str, told: Told) -> None:
        """A page is told an event, and has not yet taken it in."""
        super().on_event(socket, event, told)
        browser = socket.browser
        if event == "snapshot":
            coming = {job["id"] for job in told["jobs"]}
            for job_id, shown in browser.jobs.items():
                is_lost = job_id not in coming and shown["status"] not in FINISHED
                if is_lost and not self._is_gone(job_id, shown["revision"], browser.user_id):
                    self.fault("farewell", f"{socket} loses a job that was never told to have ended: {shown}")


class ClusterWorld(Surroundings):
    """Two relays and two edges. Browsers go from one edge to the other when theirs is gone."""

    loop_class: ClassVar[type[VirtualLoop]] = ProcessLoop

    def __init__(self, seed: int, linger_seconds: float, loop: VirtualLoop) -> None:
        super().__init__(seed, linger_seconds, loop)
        self.laws = ClusterLaws(self.database, self.clock, self.wall_clock)
        self.nats = Nats(loop)
        self.lock = Lock(self.database, loop)
        self._parts: dict[str, Part] = {}
        self._attempts = 0
        self._was_split = False
        self._lags: dict[str, float] = {}
        self._sessions: dict[str, dict[Session, None]] = {}
        self._calm_since: float | None = None

    async def start(self, tasks: TaskGroup) -> None:
        """Run all of it."""
        self._tasks = tasks
        for name in NAMES:
            self._parts[name] = self._made(name)
            await tasks.start(self._parts[name].run)

    @asynccontextmanager
    async def connected(self, *_: str) -> AsyncIterator[Session]:
        """A connection of the feed of the relay that asks for it, or of its canary."""
        process = PROCESS.get()
        assert process is not None
        async with super().connected() as session:
            sessions = self._sessions.setdefault(process.name, {})
            sessions[session] = None
            session.lag_seconds = self._lags.get(process.name, 0.0)
            try:
                yield session
            finally:
                del sessions[session]

    @contextmanager
    def simulated(self) -> Iterator[None]:
        """Lead everyone to the simulated database and NATS, and have queues that overflow soon."""

        async def unpooled(_: str) -> Pooling:
            return Pooling.NONE

        with (
            database_simulated(self),
            patch.object(leader, "connected", self.lock.connected),
            patch.object(leader, "pooling", unpooled),
            patch.object(lines, "connected", self.nats.connected),
            patch.object(outbox, "MESSAGES_MAX", MESSAGES_MAX),
            patch.object(following, "KEPT_MAX", KEPT_MAX),
        ):
            yield

    def release(self) -> None:
        """Have nobody stand still, so that everything can end."""
        for part in self._parts.values():
            if part.process.is_frozen:
                part.process.thaw(self._loop)

    def judge_limits(self) -> None:
        """See that no queue is too long."""
        for relay in self._relays():
            if len(relay.relay._outbox._messages) > MESSAGES_MAX:
                self.laws.fault("limits", "too many messages wait for NATS")
        for edge in self._edges():
            if any(len(user._kept) > KEPT_MAX for user in edge.edge._users.values()):
                self.laws.fault("limits", "too many flushes are kept")

    # What befalls the cluster.

    def kill(self, part: int, seconds: float) -> None:
        """End a process, and start it again after a while."""
        name = NAMES[part]
        there = self._parts.get(name)
        if there is not None and there.tasks is not None and not there.process.is_frozen:
            self._parts.pop(name).kill()
            self._loop.call_later(seconds, self._start_again, name)

    def freeze(self, part: int, seconds: float) -> None:
        """Have a process stand still for a while: it believes whatever it believed before."""
        there = self._parts.get(NAMES[part])
        if there is not None and not there.process.is_frozen:
            there.process.is_frozen = True
            self._loop.call_later(seconds, there.process.thaw, self._loop)

    def split_lock(self) -> None:
        """Have another relay get the lock while its holder still believes to have it.

        Where feeds lag besides, what both tell cannot be put in order: that is a known limit (decision 14).
        """
        if not any(self._lags.values()):
            self.lock.split()
            self._was_split = True

    def set_terms_back(self, seconds: float) -> None:
        """Have later terms be lower ones, as those of a database that was restored."""
        self.lock.late_seconds += seconds

    def restart_nats(self, seconds: float) -> None:
        """Have NATS be away for a while."""
        if not self.nats.is_down:
            self.nats.crash()
            self._loop.call_later(seconds, self.nats.restart)

    def cut_off(self, part: int, seconds: float) -> None:
        """Have nothing pass between a process and NATS for a while."""
        self.nats.cut(NAMES[part], seconds)

    def slow_link(self, part: int, seconds: float) -> None:
        """Have all that a process says to NATS, and hears from it, take so long from now on."""
        self.nats.link(NAMES[part]).delay_seconds = seconds

    def lose(self, part: int, kind: str, messages: int) -> None:
        """Have the next messages of a kind not reach a process."""
        self.nats.link(NAMES[part]).losses[kind] += messages

    def detour(self, part: int, kind: str, seconds: float) -> None:
        """Have the next message of a kind be overtaken by those of others."""
        self.nats.link(NAMES[part]).detours[kind] = seconds

    def lag_feed(self, relay: int, seconds: float) -> None:
        """Have notifications reach one relay so much later than the other, from now on."""
        if self._was_split and seconds:
            return
        self._lags[NAMES[relay]] = seconds
        for session in self._sessions.get(NAMES[relay], ()):
            session.lag_seconds = seconds

    async def settle(self) -> None:
        """Let all faults be over."""
        for link in self.nats.links.values():
            link.delay_seconds = 0.0
            link.losses.clear()
            link.detours.clear()
        for relay in range(RELAYS):
            self.lag_feed(relay, 0.0)
        await super().settle()

    def _is_settled(self) -> bool:
        is_calm = (
            len(self._parts) == len(NAMES)
            and not any(part.process.is_frozen for part in self._parts.values())
            and self._leader() is not None
            and all(relay.publisher.feed_state is FeedState.LIVE for relay in self._relays())
            and all(edge.edge.feed_state is FeedState.LIVE for edge in self._edges())
            and not any(user.is_asking for edge in self._edges() for user in edge.edge._users.values())
            and all(browser.socket is None or browser.socket.is_reading for browser in self._browsers)
        )
        if not is_calm:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = self._loop.time()
        is_long = self._calm_since is not None and self._loop.time() - self._calm_since > CALM_SECONDS
        return is_long and self.database.is_quiet

    def _judge_quiet(self, *, is_final: bool) -> None:
        leading = self._leader()
        if leading is None:
            self.laws.fault("convergence", "nobody leads")
            return
        pictures = Pictures(self.database, leading.publisher.board, leading.beat, self.laws.fault)
        pictures.judge(self._browsers, is_final=is_final)

    def _open_stream(self, stream: Stream, socket: Socket) -> None:
        self._attempts += 1
        edges = self._edges()
        if edges:
            edges[self._attempts % len(edges)].open(stream, socket)
        else:
            self._loop.call_soon(self._refuse, socket.browser, socket)

    def _refuse(self, browser: Browser, socket: Socket) -> None:
        socket.drop()
        browser.closed(socket)

    def _made(self, name: str) -> Part:
        return RelayPart(name, self) if name.startswith("relay") else EdgePart(name, self)

    def _start_again(self, name: str) -> None:
        assert self._tasks is not None
        self._parts[name] = self._made(name)
        self._tasks.start_soon(self._parts[name].run)

    def _relays(self) -> list[RelayPart]:
        return [part for part in self._parts.values() if isinstance(part, RelayPart)]

    def _edges(self) -> list[EdgePart]:
        return [part for part in self._parts.values() if isinstance(part, EdgePart) and part.tasks]

    def _leader(self) -> RelayPart | None:
        leading = [relay for relay in self._relays() if relay.relay.leadership.is_held]
        return leading[0] if len(leading) == 1 else None
