"""Wiring shared by service and relay: clocks, feed, publisher with its reducer, reaper."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from progress_service.cluster.line import LineRefused
from progress_service.core.model import Instant
from progress_service.core.reducer import ActiveJobs
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.feed import Feed, create_feed
from progress_service.jobs.reaper import Reaper
from progress_service.settings import Settings, SettingsError
from progress_service.streams.beat import Beat
from progress_service.streams.publisher import Publisher


def monotonic_clock() -> Instant:
    """The clock of deadlines."""
    return Instant(time.monotonic())


def wall_clock() -> datetime:
    """The date that pages are told."""
    return datetime.now(UTC)


def database_feed(settings: Settings, dsn: str, publisher: Publisher, shard: Shard = ALL) -> Feed:
    """The feed that the settings name: it fills *publisher* from the database *dsn*."""
    feed = create_feed(
        settings.feed,
        dsn,
        publisher,
        clock=monotonic_clock,
        finished_seconds=settings.linger_seconds,
        shard=shard,
    )
    publisher.promote_by(feed.promote)
    return feed


def publisher_of(settings: Settings, beat: Beat, reaper: Reaper | None) -> Publisher:
    """A publisher without jobs."""
    return Publisher(
        ActiveJobs(linger_seconds=settings.linger_seconds),
        beat,
        wall_clock=wall_clock,
        flush_seconds=settings.flush_seconds,
        epoch=secrets.token_hex(4),
        clock_offset=lambda: None if reaper is None else reaper.clock_offset_seconds,
    )


def reaper_of(settings: Settings, dsn: str) -> Reaper:
    """Who ends what hangs in the database *dsn*."""
    return Reaper(
        dsn,
        pending_seconds_max=settings.pending_seconds_max,
        history_seconds=settings.history_seconds,
    )


@contextmanager
def refusals_told() -> Iterator[None]:
    """End the process with one line where NATS cannot be used as things are set up."""
    try:
        yield
    except* LineRefused as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise SettingsError(str(failure)) from None
