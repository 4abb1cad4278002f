"""What an operator's tools ask of a relay, at the one port that it has: its figures, and the two probes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from progress_service.api.families import (
    counter,
    gauge,
    of_board,
    of_build,
    of_feed,
    of_feed_counters,
    of_reaper,
)
from progress_service.api.metrics import metrics_application
from progress_service.api.operations import alive, not_ready
from progress_service.core.events import FeedState
from progress_service.core.shard import Shard
from progress_service.feeds.reader import FeedCounters
from progress_service.jobs.reaper import Reaper
from progress_service.streams.publisher import Publisher


class Relaying(Protocol):
    """A relay, as far as an operator sees it."""

    shard: Shard
    is_connected: bool
    messages: int
    message_bytes: int
    snapshots: int
    terms: int

    @property
    def is_leading(self) -> bool:
        """Whether it is this one that the edges hear."""
        ...

    @property
    def is_standing_by(self) -> bool:
        """Whether it would lead if the leader went."""
        ...

    @property
    def users(self) -> int:
        """How many users some edge watches."""
        ...

    @property
    def waiting(self) -> tuple[int, int]:
        """How many messages have yet to be sent, and their bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelayFigures(Collector):
    """Every figure of a relay.

    Args:
        relay: Speaks to the edges.
        publisher: Has the board.
        counters: What the feed has read.
        reaper: Ends what hangs.
    """

    relay: Relaying
    publisher: Publisher
    counters: FeedCounters
    reaper: Reaper

    def collect(self) -> Iterator[Metric]:
        """All of them as they are now."""
        yield of_build()
        yield from self._relay()
        yield from of_board(self.publisher)
        yield from of_feed(self.publisher)
        yield from of_feed_counters(self.counters)
        yield from of_reaper(self.reaper)

    def _relay(self) -> Iterator[Metric]:
        relay = self.relay
        messages, message_bytes = relay.waiting
        leading, standing_by = {str(relay.shard): relay.is_leading}, {str(relay.shard): relay.is_standing_by}
        yield gauge("relay_leading", "1 in the one relay of a shard that edges hear.", leading, "shard")
        yield gauge(
            "relay_standing_by", "1 in a relay that would lead if that one went.", standing_by, "shard"
        )
        yield gauge("relay_connected", "1 while there is a line to NATS.", int(relay.is_connected))
        yield counter("relay_terms", "Terms that were begun; in each, edges ask for everything.", relay.terms)
        yield counter("relay_messages", "Messages that NATS was given.", relay.messages)
        yield counter("relay_message_bytes", "Bytes of these messages.", relay.message_bytes)
        yield counter("relay_snapshots", "Snapshots that edges were answered with.", relay.snapshots)
        yield gauge("relay_messages_waiting", "Messages that NATS has yet to take.", messages)
        yield gauge("relay_bytes_waiting", "Bytes of these messages.", message_bytes)
        yield gauge("relay_users", "Users whom some edge watches, as told to this relay.", relay.users)


def relay_application(figures: RelayFigures) -> ASGIApp:
    """`GET /metrics`, `/healthz` and `/readyz` of a relay."""
    relay, publisher = figures.relay, figures.publisher

    async def readyz(_: Request) -> Response:
        """200 while this relay leads, or would if the leader went; 503 says what it lacks."""
        members = {"feed": publisher.feed_state, "feed_kind": publisher.feed_kind}
        if publisher.feed_state is not FeedState.LOST and relay.is_connected:
            if relay.is_leading:
                return JSONResponse({"status": "ready", "role": "leading", **members})
            if relay.is_standing_by:
                return JSONResponse({"status": "ready", "role": "standing by", **members})
        lack = publisher.feed_reason or f"The relay {_lack(figures)} at the moment"
        raise not_ready(lack, nats=relay.is_connected, **members)

    return metrics_application(figures, [Route("/healthz", alive), Route("/readyz", readyz)])


def _lack(figures: RelayFigures) -> str:
    if not figures.relay.is_connected:
        return "has no line to NATS"
    if figures.publisher.feed_state is FeedState.LOST:
        return "does not receive changes"
    return "cannot contend for the lead"
