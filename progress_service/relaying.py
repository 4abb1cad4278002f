"""The composition root of a relay: the feed, the board and the reaper of a service, and NATS for streams."""

import logging
import signal
import socket

import anyio

from progress_service.api.relay_operations import RelayFigures, relay_application
from progress_service.cluster.relay import Relay
from progress_service.parts import (
    database_feed,
    monotonic_clock,
    publisher_of,
    reaper_of,
    refusals_told,
)
from progress_service.policies import servers_of, shard_of
from progress_service.server import serve_aside
from progress_service.settings import Settings
from progress_service.streams.beat import Beat

logger = logging.getLogger(__name__)


class RelayService:
    """Everything between a feed and NATS.

    Args:
        settings: Every setting.
        dsn: The database.

    Raises:
        SettingsError: There is no NATS.
    """

    def __init__(self, settings: Settings, dsn: str) -> None:
        servers = servers_of(settings, settings.require_nats())
        self._beat = Beat(monotonic_clock)
        shard = shard_of(settings)
        self._reaper = reaper_of(settings, dsn)
        self._publisher = publisher_of(settings, self._beat, self._reaper)
        self._feed = database_feed(settings, dsn, self._publisher, shard)
        self._relay = Relay(
            self._publisher,
            servers=servers,
            dsn=dsn,
            catch_up=self._feed.catch_up,
            clock=monotonic_clock,
            shard=shard,
        )
        self._publisher.publish_to(self._relay)
        self.figures = RelayFigures(
            relay=self._relay,
            publisher=self._publisher,
            counters=self._feed.counters,
            reaper=self._reaper,
        )

    async def run(self, metrics_listener: socket.socket | None) -> None:
        """Follow the database, and lead whenever it is this one's turn, until cancelled.

        Raises:
            LineRefused: NATS cannot be used as things are set up.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat.run)
            tasks.start_soon(self._feed.run)
            tasks.start_soon(self._reaper.run)
            tasks.start_soon(self._relay.run)
            if metrics_listener is not None:
                tasks.start_soon(serve_aside, relay_application(self.figures), metrics_listener)


async def run(settings: Settings, dsn: str, metrics_listener: socket.socket | None) -> None:
    """Follow the database and tell the edges, whenever it is this process's turn, until SIGTERM or SIGINT.

    Args:
        settings: Every setting.
        dsn: The database.
        metrics_listener: Where the metrics and the probes are asked for; is closed in the end.

    Raises:
        SettingsError: There is no NATS, or it cannot be used as things are set up.
    """
    relay = RelayService(settings, dsn)
    with refusals_told():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay.run, metrics_listener)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    logger.info("%s: ending", signal.Signals(number).name)
                    break
            tasks.cancel_scope.cancel()
