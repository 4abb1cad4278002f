"""What an operator's Prometheus reads: figures that are kept anyway, written down when it asks.

Nothing here is called while frames are sent. The parts of the service count with plain integers, and
`Figures` reads them at each scrape. All names begin with `progress_`, but for those of the process and of
Python's memory, which `prometheus_client` knows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from progress_service.api.answers import Answers
from progress_service.api.families import (
    Source,
    counter,
    gauge,
    of_board,
    of_build,
    of_feed,
    of_feed_counters,
    of_reaper,
)
from progress_service.api.jobs import Jobs
from progress_service.api.problems import exception_handlers
from progress_service.api.stream import StreamRoute
from progress_service.feeds.reader import FeedCounters
from progress_service.jobs.reaper import Reaper
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Ending

__all__ = ["Figures", "metrics_application"]

STREAM_LIMITS = ("streams", "streams_per_user", "streams_per_address", "descriptors")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figures(Collector):
    """Every figure of one process.

    Args:
        hub: Has the streams.
        feed: Where changes come from.
        publisher: Has the board; None where that is a relay, far away.
        counters: What the feed has read; None where that cannot be asked.
        reaper: Ends what hangs; None leaves that to another process.
        route: Refuses streams.
        jobs: Refuses commands.
        answers: Counts what was answered.
        limits: The limits that are set, by their names.
    """

    hub: Hub
    feed: Source
    publisher: Publisher | None
    counters: FeedCounters | None
    reaper: Reaper | None
    route: StreamRoute
    jobs: Jobs
    answers: Answers
    limits: Mapping[str, int]

    def collect(self) -> Iterator[Metric]:
        """All of them as they are now."""
        yield of_build()
        yield from self._streams()
        if self.publisher is not None:
            yield from of_board(self.publisher)
        yield from of_feed(self.feed)
        yield from self._requests()
        if self.counters is not None:
            yield from of_feed_counters(self.counters)
        if self.reaper is not None:
            yield from of_reaper(self.reaper)

    def _streams(self) -> Iterator[Metric]:
        hub = self.hub
        yield gauge("streams", "Streams that are open.", hub.streams)
        yield gauge("streams_behind", "Open streams whose reader has yet to take a frame.", hub.behind)
        yield gauge("users_watching", "Users who have a stream open.", hub.users)
        yield gauge("draining", "1 while the process ends its streams, to stop.", int(hub.is_draining))
        yield counter("streams_opened", "Streams that were opened.", hub.opened)
        ended = {ending.value: hub.ended[ending] for ending in Ending}
        yield counter("streams_closed", "Streams that ended, by why.", ended, "reason")
        yield counter("frames", "Frames that streams were sent, comments apart.", hub.frames)
        yield counter("frame_bytes", "Bytes of these frames, before any compression or TLS.", hub.frame_bytes)
        yield counter(
            "frames_missed", "Frames withheld from streams that were behind; a snapshot made up.", hub.missed
        )
        yield counter("stream_lags", "How often a stream fell behind.", hub.lags)

    def _requests(self) -> Iterator[Metric]:
        answers = {str(status): count for status, count in sorted(self.answers.by_status.items())}
        yield counter("http_answers", "Requests that were answered, by status.", answers, "status")
        refused = {name: self.route.refused[name] for name in STREAM_LIMITS}
        refused["commands_per_minute"] = self.jobs.limit.refused
        yield counter("refused", "Requests that were refused for a limit.", refused, "limit")
        yield gauge("limit", "The limits that are set.", self.limits, "limit")


def metrics_application(figures: Collector, more_routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """`GET /metrics`, in the format that the scraper asks for, and nothing else but *more_routes*."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, GCCollector, PlatformCollector):
        collector(registry=registry)
    registry.register(figures)

    async def show(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), HTTPStatus.OK, {"Content-Type": media_type})

    return Starlette(routes=[Route("/metrics", show), *more_routes], exception_handlers=exception_handlers())
