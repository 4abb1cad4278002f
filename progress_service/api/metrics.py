"""What an operator's Prometheus reads: figures that are kept anyway, written down when it asks.

Nothing here is called while frames are sent. The parts of the service count with plain integers, and
`Figures` reads them at each scrape. All names begin with `progress_`, but for those of the process and of
Python's memory, which `prometheus_client` knows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from math import inf
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from progress_service.api.answers import Answers
from progress_service.api.jobs import Jobs
from progress_service.api.problems import exception_handlers
from progress_service.api.stream import StreamRoute
from progress_service.core.events import FeedState, JobDeleted, JobReported, SnapshotTaken
from progress_service.feeds.ledger import Ledger
from progress_service.jobs.reaper import CHORES, Reaper
from progress_service.streams.hub import Hub
from progress_service.streams.lag import Lag
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Ending

Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)

__all__ = ["Figures", "metrics_application"]

FEED_KINDS = ("notify", "wal", "poll", "nats")
SNAPSHOT_CAUSES = ("start", "reconnect", "overflow", "truncate", "settled")
STREAM_LIMITS = ("streams", "streams_per_user", "streams_per_address", "descriptors")


class Source(Protocol):
    """Where changes come from, as far as the figures tell of it."""

    feed_kind: str
    feed_state: FeedState
    feed_turns: Counter[FeedState]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figures(Collector):
    """Every figure of one process.

    Args:
        hub: Has the streams.
        feed: Where changes come from.
        publisher: Has the board; None where that is a relay, far away.
        ledger: What the feed has told; None where that cannot be asked.
        reaper: Ends what hangs; None leaves that to another process.
        route: Refuses streams.
        jobs: Refuses commands.
        answers: Counts what was answered.
        limits: The limits that are set, by their names.
    """

    hub: Hub
    feed: Source
    publisher: Publisher | None
    ledger: Ledger | None
    reaper: Reaper | None
    route: StreamRoute
    jobs: Jobs
    answers: Answers
    limits: Mapping[str, int]

    def collect(self) -> Iterator[Metric]:
        """All of them as they are now."""
        yield _gauge("build_info", "The version that runs.", {version("progress-service"): 1}, "version")
        yield from self._streams()
        if self.publisher is not None:
            yield from _of_board(self.publisher)
        yield from self._feed()
        yield from self._requests()
        if self.ledger is not None:
            yield from _told(self.ledger)
        if self.reaper is not None:
            yield from _reaped(self.reaper)

    def _streams(self) -> Iterator[Metric]:
        hub = self.hub
        yield _gauge("streams", "Streams that are open.", hub.streams)
        yield _gauge("streams_behind", "Open streams whose reader has yet to take a frame.", hub.behind)
        yield _gauge("users_watching", "Users who have a stream open.", hub.users)
        yield _gauge("draining", "1 while the process ends its streams, to stop.", int(hub.is_draining))
        yield _counter("streams_opened", "Streams that were opened.", hub.opened)
        ended = {ending.value: hub.ended[ending] for ending in Ending}
        yield _counter("streams_closed", "Streams that ended, by why.", ended, "reason")
        yield _counter("frames", "Frames that streams were sent, comments apart.", hub.frames)
        yield _counter(
            "frame_bytes", "Bytes of these frames, before any compression or TLS.", hub.frame_bytes
        )
        yield _counter(
            "frames_missed", "Frames withheld from streams that were behind; a snapshot made up.", hub.missed
        )
        yield _counter("stream_lags", "How often a stream fell behind.", hub.lags)

    def _feed(self) -> Iterator[Metric]:
        feed = self.feed
        states = {state.value: int(state is feed.feed_state) for state in FeedState}
        yield _gauge("feed_state", "1 for the state that the feed is in.", states, "state")
        kinds = {kind: int(kind == feed.feed_kind) for kind in FEED_KINDS}
        yield _gauge("feed_kind", "1 for the way by which changes come.", kinds, "kind")
        turns = {state.value: feed.feed_turns[state] for state in FeedState}
        yield _counter("feed_turns", "How often the feed turned to a state.", turns, "state")

    def _requests(self) -> Iterator[Metric]:
        answers = {str(status): count for status, count in sorted(self.answers.by_status.items())}
        yield _counter("http_answers", "Requests that were answered, by status.", answers, "status")
        refused = {name: self.route.refused[name] for name in STREAM_LIMITS}
        refused["commands_per_minute"] = self.jobs.limit.refused
        yield _counter("refused", "Requests that were refused for a limit.", refused, "limit")
        yield _gauge("limit", "The limits that are set.", self.limits, "limit")


def _of_board(publisher: Publisher) -> Iterator[Metric]:
    yield _gauge("jobs_on_board", "Jobs at work, or finished a moment ago.", len(publisher.board))
    kinds = {"report": JobReported, "deletion": JobDeleted, "snapshot": SnapshotTaken}
    facts = {name: publisher.facts[kind] for name, kind in kinds.items()}
    yield _counter("facts", "Facts that the feed told, news or not.", facts, "kind")
    yield _counter("changes", "Changes of jobs on the board.", publisher.changes)
    yield _counter(
        "changes_watched", "Those of them that somebody watched, to be sent.", publisher.changes_watched
    )
    yield _counter("flushes", "Flushes that these were gathered into, each of one user.", publisher.flushes)
    yield _histogram(
        "hear_to_push_seconds",
        "From when the feed heard a change to the push of its flush, by our clock.",
        publisher.hear_to_push,
    )
    yield _histogram(
        "write_to_push_seconds",
        "From a row's updated_at (its write, by the database's clock) to the push of its flush. A "
        "transaction that stays open after its write counts in full.",
        publisher.write_to_push,
    )
    yield _counter(
        "illegal_moves", "Changes of status that no worker should make.", publisher.board.illegal_moves
    )


def _told(ledger: Ledger) -> Iterator[Metric]:
    causes = {cause: ledger.snapshots[cause] for cause in SNAPSHOT_CAUSES}
    yield _counter("resyncs", "Snapshots of the table, by what called for them.", causes, "cause")
    yield _gauge("jobs_active", "Jobs at work, as the feed has told them.", len(ledger.active))
    yield _counter("rows_malformed", "Reports of rows that could not be read.", ledger.malformed_rows)
    yield _counter("changes_healed", "Changes that the feed had missed. Should be 0.", ledger.healed)


def _reaped(reaper: Reaper) -> Iterator[Metric]:
    done = {chore.name: reaper.done[chore.name] for chore in CHORES}
    yield _counter("reaped_jobs", "Jobs that this process ended, or deleted from the history.", done, "cause")
    yield _gauge("reaper_at_work", "1 in the one process that ends lost jobs.", int(reaper.is_at_work))
    if reaper.clock_offset_seconds is not None:
        yield _gauge(
            "database_clock_offset_seconds",
            "How far the database's clock is ahead of ours, within half of a round trip.",
            reaper.clock_offset_seconds,
        )


def metrics_application(figures: Figures) -> ASGIApp:
    """`GET /metrics`, in the format that the scraper asks for, and nothing else."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, GCCollector, PlatformCollector):
        collector(registry=registry)
    registry.register(figures)

    async def show(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), HTTPStatus.OK, {"Content-Type": media_type})

    return Starlette(routes=[Route("/metrics", show)], exception_handlers=exception_handlers())


def _gauge(name: str, says: str, value: float | Mapping[str, float], label: str | None = None) -> Metric:
    return _filled(GaugeMetricFamily(f"progress_{name}", says, labels=_labels(label)), value)


def _counter(name: str, says: str, value: float | Mapping[str, float], label: str | None = None) -> Metric:
    return _filled(CounterMetricFamily(f"progress_{name}", says, labels=_labels(label)), value)


def _histogram(name: str, says: str, lag: Lag) -> Metric:
    buckets = [("+Inf" if bound == inf else str(bound), float(count)) for bound, count in lag.buckets()]
    return HistogramMetricFamily(f"progress_{name}", says, buckets=buckets, sum_value=lag.seconds)


def _labels(label: str | None) -> Sequence[str]:
    return () if label is None else (label,)


def _filled(family: Family, value: float | Mapping[str, float]) -> Family:
    if isinstance(value, Mapping):
        for name, each in value.items():
            family.add_metric([name], each)
    else:
        family.add_metric([], value)
    return family
