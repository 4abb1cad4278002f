"""The world of a cluster's schedule: real relays and edges, and all that is around them simulated.

Database ─▶ Feed, Publisher, Relay ─▶ Nats ─▶ Edge, Hub, Stream ─▶ Browser
(simulated)         (real, two of them)  (simulated)  (real, two)        (simulated)
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar
from unittest.mock import patch

from anyio.abc import TaskGroup
from asyncpg.connect_utils import SessionAttribute

from progress_service.cluster import following, leader_election, outbox
from progress_service.cluster import line as lines
from progress_service.cluster.edge import RENEW_SECONDS
from progress_service.core.events import FeedState
from progress_service.core.model import FINISHED
from progress_service.feeds.postgres import PoolMode
from progress_service.streams.stream import Stream
from tests.sim.browser import Browser
from tests.sim.cluster.lock import Lock
from tests.sim.cluster.members import EdgeMember, Member, RelayMember
from tests.sim.cluster.nats import Nats
from tests.sim.cluster.processes import PROCESS, ProcessLoop
from tests.sim.environment import Environment, Setup
from tests.sim.expected_pages import ExpectedPages
from tests.sim.invariants import PageInvariants
from tests.sim.response import Data, Socket
from tests.sim.session import Session
from tests.sim.virtual_time import VirtualLoop

RELAYS, EDGES = 2, 2
NAMES = (*(f"relay {n}" for n in range(RELAYS)), *(f"edge {n}" for n in range(EDGES)))
MESSAGES_MAX = 12
KEPT_MAX = 4
CALM_SECONDS = RENEW_SECONDS + 1.5
"""So long after the last fault it shows, at the latest, that the last message of all was lost."""


class ClusterInvariants(PageInvariants):
    """As between one process and its pages; and what ends is not merely missing in the next snapshot."""

    def on_event(self, socket: Socket, event: str, data: Data) -> None:
        """A page receives an event, and has not yet applied it."""
        super().on_event(socket, event, data)
        browser = socket.browser
        if event == "snapshot":
            coming = {job["id"] for job in data["jobs"]}
            for job_id, shown in browser.jobs.items():
                is_lost = job_id not in coming and shown["status"] not in FINISHED
                if is_lost and not self._is_gone(shown, browser.user_id):
                    self.violate("farewell", f"{socket} loses a job that was never shown as ended: {shown}")


class ClusterWorld(Environment):
    """Two relays and two edges. Browsers go from one edge to the other when theirs is gone."""

    loop_class: ClassVar[type[VirtualLoop]] = ProcessLoop

    def __init__(self, setup: Setup, loop: VirtualLoop) -> None:
        super().__init__(setup, loop)
        self.invariants = ClusterInvariants(self.database, self.clock, self.wall_clock)
        self.nats = Nats(loop)
        self.lock = Lock(self.database, loop)
        self._members: dict[str, Member] = {}
        self._attempts = 0
        self._was_split = False
        self._lags: dict[str, float] = {}
        self._sessions: dict[str, list[Session]] = defaultdict(list)
        self._calm_since: float | None = None

    async def start(self, tasks: TaskGroup) -> None:
        """Run all of it."""
        self._tasks = tasks
        for name in NAMES:
            self._members[name] = self._made(name)
            await tasks.start(self._members[name].run)

    async def connect(
        self,
        _dsn: str,
        *,
        target_session_attrs: SessionAttribute,
        server_settings: Mapping[str, str],
        **_parameters: object,
    ) -> Session:
        """A connection of the feed, or of the leader election, of the relay whose task asks for it."""
        process = PROCESS.get()
        assert process is not None
        if server_settings["application_name"].endswith("relay"):
            return await self.lock.connect()
        session = await super().connect(
            _dsn, target_session_attrs=target_session_attrs, server_settings=server_settings
        )
        session.lag_seconds = self._lags.get(process.name, 0.0)
        self._sessions[process.name].append(session)
        return session

    @contextmanager
    def simulated(self) -> Iterator[None]:
        """Lead what is real to what is simulated, and lower limits, for as long as this lasts."""

        async def no_pooler(_: str) -> PoolMode:
            return PoolMode.NONE

        with (
            super().simulated(),
            patch.object(leader_election, "detect_pool_mode", no_pooler),
            patch.object(lines, "connected", self.nats.connected),
            patch.object(outbox, "MESSAGES_MAX", MESSAGES_MAX),
            patch.object(following, "KEPT_MAX", KEPT_MAX),
        ):
            yield

    def release(self) -> None:
        """Thaw what is frozen, so that everything can end."""
        for member in self._members.values():
            if member.process.is_frozen:
                member.process.thaw(self._loop)

    def judge_limits(self) -> None:
        """See that no queue is too long."""
        for relay in self._relays():
            if len(relay.relay._outbox._messages) > MESSAGES_MAX:
                self.invariants.violate("limits", "too many messages wait for NATS")
        for edge in self._edges():
            if any(len(user._kept) > KEPT_MAX for user in edge.edge._users.values()):
                self.invariants.violate("limits", "too many flushes are kept")

    # Faults of the cluster.

    def kill(self, part: int, seconds: float) -> None:
        """End a process, and start it again after a while."""
        name = NAMES[part]
        there = self._members.get(name)
        if there is not None and there.tasks is not None and not there.process.is_frozen:
            self._members.pop(name).kill()
            self._loop.call_later(seconds, self._start_again, name)

    def freeze(self, part: int, seconds: float) -> None:
        """Have a process stand still for a while: it believes whatever it believed before."""
        there = self._members.get(NAMES[part])
        if there is not None and not there.process.is_frozen:
            there.process.is_frozen = True
            self._loop.call_later(seconds, there.process.thaw, self._loop)

    def split_lock(self) -> None:
        """Have another relay get the lock while its holder still believes to have it.

        Where one of the two reads later besides, what both send has no order: a known limit (decision 14).
        """
        if not (any(self._lags.values()) or self.database.trip_seconds):
            self.lock.split()
            self._was_split = True

    def delay_answers(self, seconds: float) -> None:
        """Have queries take so long from now on."""
        if not (self._was_split and seconds):
            super().delay_answers(seconds)

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
        """Delay all messages between a process and NATS by so long from now on."""
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
            len(self._members) == len(NAMES)
            and not any(member.process.is_frozen for member in self._members.values())
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
            self.invariants.violate("convergence", "no relay leads")
            return
        expected = ExpectedPages(
            self.database, leading.publisher.board, leading.beat, self.invariants.violate
        )
        expected.judge(self._browsers, FeedState.LIVE, is_final=is_final)

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

    def _made(self, name: str) -> Member:
        return RelayMember(name, self) if name.startswith("relay") else EdgeMember(name, self)

    def _start_again(self, name: str) -> None:
        assert self._tasks is not None
        self._members[name] = self._made(name)
        self._tasks.start_soon(self._members[name].run)

    def _relays(self) -> list[RelayMember]:
        return [member for member in self._members.values() if isinstance(member, RelayMember)]

    def _edges(self) -> list[EdgeMember]:
        return [
            member for member in self._members.values() if isinstance(member, EdgeMember) and member.tasks
        ]

    def _leader(self) -> RelayMember | None:
        leading = [relay for relay in self._relays() if relay.relay.leadership.is_held]
        return leading[0] if len(leading) == 1 else None
