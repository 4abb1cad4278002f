"""Events: what a read of the table said about a job, and the state of the change feed."""

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct as Value

from progress_service.core.model import Instant, Job


class JobUpserted(Value, frozen=True, gc=False):
    """A read found the row of a job, new or changed or as it was.

    `at` is the instant of the read. `finished_age_seconds` is how long ago, by the database's clock, a
    finished job finished: an age and not a date, so that two clocks that disagree cannot evict a job early
    or late. `hinted_at` is when the first hint of the change came, for the metrics.
    """

    job: Job
    at: Instant
    finished_age_seconds: float | None = None
    hinted_at: Instant | None = None


class JobDeleted(Value, frozen=True, gc=False):
    """A read at the instant `at` found no row of that id."""

    id: str
    at: Instant


Event = JobUpserted | JobDeleted


class FeedState(StrEnum):
    """How far the shown jobs can be trusted."""

    LIVE = "live"
    DEGRADED = "degraded"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class FeedStateChanged:
    """The change feed entered *state*. Not an event of a job: the reducer does not take it.

    `kind` names the source of hints: notify, wal or poll; empty where there is none. `reason` is a sentence
    with its remedy where the database cannot be used as it is; it names no host, role or secret.
    """

    state: FeedState
    at: Instant
    kind: str = ""
    reason: str = ""
