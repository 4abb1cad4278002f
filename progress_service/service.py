"""The composition root: builds feed, board, publisher, hub and routes, and runs them in one task group."""

import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import anyio
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from progress_service.api.access import Access
from progress_service.api.answers import Answers
from progress_service.api.cors import Origins
from progress_service.api.denials import Denials
from progress_service.api.history import History
from progress_service.api.hosts import Hosts
from progress_service.api.jobs import Jobs
from progress_service.api.limits import Addresses, CommandLimit
from progress_service.api.metrics import Figures, metrics_application
from progress_service.api.operations import Operations
from progress_service.api.renewals import Renewals
from progress_service.api.routes import application
from progress_service.api.sessions import Sessions
from progress_service.api.stream import StreamRoute
from progress_service.cluster.edge import Edge
from progress_service.cluster.edges import Edges
from progress_service.jobs.reaper import Reaper
from progress_service.jobs.store import JobStore
from progress_service.parts import database_feed, monotonic_clock, publisher_of, reaper_of, wall_clock
from progress_service.policies import access_policy, limits, servers_of, stream_limits
from progress_service.server import Server, address_of, allow_open_files, collect_less_often, serve_aside
from progress_service.settings import Settings, SettingsError
from progress_service.streams.beat import Beat
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher

logger = logging.getLogger(__name__)

AnyEdge = Edge | Edges


class Service:
    """Everything between a feed and the browsers' sockets.

    Args:
        settings: Every setting.
        dsn: The database that the feed follows, unless there is an *edge*.
        store: The rows that requests make and read.
        more_routes: Further pages, such as the demo's.
        edge: The source of changes where that is a relay.
        reaper: Ends lost jobs; None leaves that to another process.
    """

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        store: JobStore,
        more_routes: Sequence[BaseRoute] = (),
        *,
        edge: AnyEdge | None = None,
        reaper: Reaper | None = None,
    ) -> None:
        self._settings = settings
        self.reaper = reaper
        self.beat = Beat(monotonic_clock)
        publisher: Publisher | None = None
        source: AnyEdge | Publisher
        if edge is None:
            source = publisher = publisher_of(settings, self.beat, reaper)
            feed = database_feed(settings, dsn, publisher)
            self._run_feed, counters = feed.run, feed.counters
        else:
            source, self._run_feed, counters = edge, edge.run, None
        self.source = source
        self.hub = Hub(
            self.beat,
            snapshot=source.snapshot,
            wall_clock=wall_clock,
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        source.publish_to(self.hub)
        origins = Origins(settings.allowed_origins)
        self.denials = Denials(settings.denied_subjects_file, end_streams=self._end_streams)
        access = Access(access_policy(settings), origins, denies=self.denials.denies)
        answers = Answers()
        jobs = Jobs(
            access,
            store,
            limit=CommandLimit(settings.commands_per_minute_max),
            snapshot=source.snapshot_json,
            estimate=source.estimate,
        )
        stream = StreamRoute(
            access,
            origins,
            self.hub,
            limits=stream_limits(settings),
            addresses=Addresses(settings.trusted_proxies),
            answers=answers,
        )
        self.figures = Figures(
            hub=self.hub,
            feed=source,
            publisher=publisher,
            counters=counters,
            reaper=reaper,
            route=stream,
            jobs=jobs,
            answers=answers,
            limits=limits(settings),
        )
        self.app: ASGIApp = application(
            jobs=jobs,
            history=History(access, store),
            sessions=Sessions(access, origins),
            operations=Operations(
                source,
                is_draining=lambda: self.hub.is_draining,
            ),
            renewals=Renewals(access, self.hub),
            stream=stream,
            origins=origins,
            hosts=Hosts(settings.allowed_hosts),
            answers=answers,
            more=more_routes,
        )

    @property
    def publisher(self) -> Publisher:
        """Who has the board, where it is in this process."""
        assert isinstance(self.source, Publisher)
        return self.source

    def server(self, *, on_start: Callable[[], None]) -> Server:
        """What listens for it, and drains it in the end; *on_start* is called once it accepts connections."""
        seconds = self._settings.drain_seconds
        return Server(
            self.app,
            drain=lambda: self.hub.drain("shutdown", seconds),
            on_start=on_start,
            drain_seconds=seconds,
            trusted_proxies=self._settings.trusted_proxies,
        )

    def _end_streams(self, users: Collection[str]) -> None:
        for user_id in users:
            self.hub.expire_user(user_id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the feed, keep every deadline and end what hangs, until left.

        Raises:
            SettingsError: The list of the denied cannot be read.
        """
        try:
            self.denials.load()
        except OSError as error:
            name = "PROGRESS_DENIED_SUBJECTS_FILE"
            raise SettingsError(
                f"{name} is {str(self.denials.path)!r}, which cannot be read: {error}"
            ) from None
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.hub.run)
            tasks.start_soon(self.beat.run)
            tasks.start_soon(self._run_feed)
            tasks.start_soon(self.denials.run)
            if self.reaper is not None:
                tasks.start_soon(self.reaper.run)
            yield
            tasks.cancel_scope.cancel()


def _edge(settings: Settings) -> AnyEdge:
    servers = servers_of(settings, settings.feed_servers)
    if settings.shards > 1:
        return Edges(servers, settings.shards, clock=monotonic_clock, wall_clock=wall_clock)
    return Edge(servers, clock=monotonic_clock, wall_clock=wall_clock)


@asynccontextmanager
async def opened(
    settings: Settings, dsn: str, more_routes: Sequence[BaseRoute] = ()
) -> AsyncIterator[Service]:
    """A service on the database *dsn*, running but not yet listening.

    An edge needs the database for the requests of people alone, and leaves what hangs to the relay.
    """
    async with JobStore.open(dsn) as store:
        if settings.feed_servers:
            service = Service(settings, dsn, store, more_routes, edge=_edge(settings))
        else:
            service = Service(settings, dsn, store, more_routes, reaper=reaper_of(settings, dsn))
        async with service.running():
            yield service


async def serve(
    service: Service,
    listener: socket.socket,
    *,
    metrics_listener: socket.socket | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then end every stream and stop; a second signal hurries.

    SIGHUP has the list of the denied read again, where there is one.

    Args:
        service: One that is running.
        listener: Is closed in the end.
        metrics_listener: Where the metrics are read; is closed after the last stream.
        until: Returns when it is time to stop, for another reason than a signal.
        on_start: Is told the address, once connections are accepted.
    """
    allow_open_files()
    collect_less_often()
    with listener:
        address = address_of(listener)
        server = service.server(on_start=lambda: on_start(address))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_heed_signals, server, service.denials)
            if until is not None:
                tasks.start_soon(_stop_after, until, server)
            if metrics_listener is not None:
                tasks.start_soon(serve_aside, metrics_application(service.figures), metrics_listener)
            await server.serve([listener])
            tasks.cancel_scope.cancel()


async def _stop_after(until: Callable[[], Awaitable[None]], server: Server) -> None:
    await until()
    server.should_exit = True


async def _heed_signals(server: Server, denials: Denials) -> None:
    # Without a list SIGHUP keeps its meaning, which is that the terminal has gone.
    more = () if denials.path is None else (signal.SIGHUP,)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, *more) as signals:
        async for number in signals:
            if number == signal.SIGHUP:
                denials.reload()
                continue
            logger.info("%s: ending", signal.Signals(number).name)
            server.force_exit = server.should_exit
            server.should_exit = True
