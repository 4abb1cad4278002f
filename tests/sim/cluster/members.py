"""The processes of a simulated cluster: a relay with its feed, an edge with its streams. Both are real."""

import anyio
from anyio.abc import TaskGroup, TaskStatus

from progress_service.cluster.edge import Edge
from progress_service.cluster.line import Servers
from progress_service.cluster.relay import Relay
from progress_service.core.reducer import ActiveJobs
from progress_service.feeds.feed import create_feed
from progress_service.streams.beat import Beat
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Stream
from tests.sim.cluster.processes import PROCESS, Process
from tests.sim.environment import FLUSH_SECONDS, Environment
from tests.sim.invariants import HEARTBEAT_SECONDS
from tests.sim.response import Socket


class Member:
    """One process of the cluster. Its tasks end when it is killed."""

    def __init__(self, name: str) -> None:
        self.process = Process(name)
        self.tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Live until killed."""
        PROCESS.set(self.process)
        async with anyio.create_task_group() as self.tasks:
            await self._begin(self.tasks)
            task_status.started()

    def kill(self) -> None:
        """End at once."""
        assert self.tasks is not None
        self.tasks.cancel_scope.cancel()

    async def _begin(self, tasks: TaskGroup) -> None:
        raise NotImplementedError


class RelayMember(Member):
    """A relay with its feed."""

    def __init__(self, name: str, world: Environment) -> None:
        super().__init__(name)
        self.beat = Beat(world.clock)
        self.publisher = Publisher(
            ActiveJobs(linger_seconds=world.setup.linger_seconds),
            self.beat,
            wall_clock=world.wall_clock,
            flush_seconds=FLUSH_SECONDS,
            epoch=name,
        )
        self.feed = create_feed(
            "notify", "", self.publisher, clock=world.clock, finished_seconds=world.setup.linger_seconds
        )
        self.publisher.promote_by(self.feed.promote)
        self.relay = Relay(
            self.publisher,
            servers=Servers((name,)),
            dsn="",
            catch_up=self.feed.catch_up,
            clock=world.clock,
        )
        self.publisher.publish_to(self.relay)

    async def _begin(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self.beat.run)
        tasks.start_soon(self.feed.run)
        tasks.start_soon(self.relay.run)


class EdgeMember(Member):
    """An edge with its streams."""

    def __init__(self, name: str, world: Environment) -> None:
        super().__init__(name)
        self.beat = Beat(world.clock)
        self.edge = Edge(Servers((name,)), clock=world.clock, wall_clock=world.wall_clock)
        self.hub = Hub(
            self.beat,
            snapshot=self.edge.snapshot,
            wall_clock=world.wall_clock,
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )
        self.edge.publish_to(self.hub)
        self.invariants = world.invariants
        self.sockets: dict[Socket, None] = {}

    def open(self, stream: Stream, socket: Socket) -> None:
        """Serve a stream."""
        assert self.tasks is not None
        self.sockets[socket] = None
        self.process.enter(self.tasks.start_soon, self._answer, stream, socket)

    def kill(self) -> None:
        """End at once, and every stream with it."""
        super().kill()
        for socket in list(self.sockets):
            socket.drop()
            socket.browser.closed(socket)

    async def _answer(self, stream: Stream, socket: Socket) -> None:
        self.invariants.opened(socket)
        try:
            await self.hub.serve(stream, socket.receive)
        finally:
            del self.sockets[socket]
            self.invariants.closed(socket)

    async def _begin(self, tasks: TaskGroup) -> None:
        await tasks.start(self.hub.run)
        tasks.start_soon(self.beat.run)
        tasks.start_soon(self.edge.run)
