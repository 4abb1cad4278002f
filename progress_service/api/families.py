"""Figures in Prometheus's form, and those that every process has which follows changes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from math import inf
from typing import Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from progress_service.core.events import FeedState, JobDeleted, JobUpserted
from progress_service.feeds.reader import FeedCounters
from progress_service.jobs.reaper import CHORES, Reaper
from progress_service.streams.lag import Lag
from progress_service.streams.publisher import Publisher

Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)

FEED_KINDS = ("notify", "wal", "poll", "nats")


class Source(Protocol):
    """Where changes come from, as far as the figures tell of it."""

    @property
    def feed_kind(self) -> str:
        """Which feed it is, in a word."""
        ...

    @property
    def feed_state(self) -> FeedState:
        """How far what it tells can be trusted."""
        ...

    @property
    def feed_turns(self) -> Counter[FeedState]:
        """How often it turned to a state."""
        ...


def of_build() -> Metric:
    """Which version this is."""
    return gauge("build_info", "The version that runs.", {version("progress-service"): 1}, "version")


def of_feed(feed: Source) -> Iterator[Metric]:
    """How changes come, and whether they do."""
    states = {state.value: int(state is feed.feed_state) for state in FeedState}
    yield gauge("feed_state", "1 for the state that the feed is in.", states, "state")
    kinds = {kind: int(kind == feed.feed_kind) for kind in FEED_KINDS}
    yield gauge("feed_kind", "1 for the way by which changes come.", kinds, "kind")
    turns = {state.value: feed.feed_turns[state] for state in FeedState}
    yield counter("feed_turns", "How often the feed turned to a state.", turns, "state")


def of_board(publisher: Publisher) -> Iterator[Metric]:
    """What the board has, and how long its changes take to be pushed."""
    yield gauge("jobs_on_board", "Jobs at work, or finished a moment ago.", len(publisher.board))
    kinds = {"upsert": JobUpserted, "delete": JobDeleted}
    events = {name: publisher.events[kind] for name, kind in kinds.items()}
    yield counter("feed_events", "Reads of a row, changed or not.", events, "kind")
    yield counter("changes", "Changes of jobs on the board.", publisher.changes)
    yield counter(
        "changes_watched", "Those of them that somebody watched, to be sent.", publisher.changes_watched
    )
    yield counter("flushes", "Flushes that these were gathered into, each of one user.", publisher.flushes)
    yield histogram(
        "hear_to_push_seconds",
        "From when the feed heard a change to the push of its flush, by our clock.",
        publisher.hear_to_push,
    )
    yield histogram(
        "write_to_push_seconds",
        "From a row's updated_at (its write, by the database's clock) to the push of its flush. A "
        "transaction that stays open after its write counts in full.",
        publisher.write_to_push,
    )
    yield counter(
        "illegal_moves", "Changes of status that no worker should make.", publisher.board.illegal_moves
    )


def of_feed_counters(counters: FeedCounters) -> Iterator[Metric]:
    """What the feed has read."""
    yield counter("resyncs", "Reads of all rows, one for each connection to the database.", counters.resyncs)
    yield counter("reads", "Queries that read the rows of hinted jobs.", counters.reads)
    yield counter("rows_read", "Rows that these returned.", counters.rows)
    yield counter("rows_malformed", "Rows read that could not be shown.", counters.rows_malformed)
    yield counter("hints_forged", "Notifications that no trigger of the schema sends.", counters.forged_hints)
    yield counter("changes_repaired", "Changes that the feed had missed. Should be 0.", counters.repairs)


def of_reaper(reaper: Reaper) -> Iterator[Metric]:
    """What was ended for lost workers."""
    done = {chore.name: reaper.done[chore.name] for chore in CHORES}
    yield counter("reaped_jobs", "Jobs that this process ended, or deleted from the history.", done, "cause")
    yield gauge("reaper_at_work", "1 in the one process that ends lost jobs.", int(reaper.is_at_work))
    if reaper.clock_offset_seconds is not None:
        yield gauge(
            "database_clock_offset_seconds",
            "How far the database's clock is ahead of ours, within half of a round trip.",
            reaper.clock_offset_seconds,
        )


def gauge(name: str, says: str, value: float | Mapping[str, float], label: str | None = None) -> Metric:
    """A figure that rises and falls; with *label*, one for each of its values."""
    return _filled(GaugeMetricFamily(f"progress_{name}", says, labels=_labels(label)), value)


def counter(name: str, says: str, value: float | Mapping[str, float], label: str | None = None) -> Metric:
    """A figure that only rises; with *label*, one for each of its values."""
    return _filled(CounterMetricFamily(f"progress_{name}", says, labels=_labels(label)), value)


def histogram(name: str, says: str, lag: Lag) -> Metric:
    """How long something took."""
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
