"""The facts: what has happened to jobs, as a feed tells it, each with the instant at which it was heard."""

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct as Value

from progress_service.core.model import Instant, Job, Revision


class JobReported(Value, frozen=True, gc=False):
    """A row was inserted or updated, or was found in a snapshot.

    `finished_seconds` is how long ago, by the database's clock, a finished job finished. It is an age and
    not a date, so that two clocks which disagree cannot evict a job early or late.
    """

    job: Job
    at: Instant
    finished_seconds: float | None = None


class JobDeleted(Value, frozen=True, gc=False):
    """A row is gone. `revision` is the last that it had."""

    id: str
    user_id: str
    revision: Revision
    at: Instant


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """Every job that is active, or finished a short while ago. What is not among them is no longer there."""

    reports: tuple[JobReported, ...]
    at: Instant


Fact = JobReported | JobDeleted | SnapshotTaken


class FeedState(StrEnum):
    """How far what is shown can be trusted."""

    LIVE = "live"
    DEGRADED = "degraded"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class FeedTurned:
    """The feed itself changed its state. Not a fact about a job: the board does not hear of it.

    `kind` is which feed it is, in a word: notify, wal or poll; empty where there is but one.
    """

    state: FeedState
    at: Instant
    kind: str = ""
