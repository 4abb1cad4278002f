"""What the laws are tried on: random jobs, random facts about them, and whole random histories.

Ids, users and revisions are few, so that facts meet. Times are eighths of a second, which floating point
holds exactly, so that a deadline can be hit on the dot.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from progress_service.core.board import Board, Change
from progress_service.core.events import Fact, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Instant, Job, Progress, Revision, Status
from progress_service.core.totals import Totals

# A busy machine is slow now and then, which says nothing about a law.
settings.register_profile("laws", deadline=None)
settings.load_profile("laws")

IDS = ("a", "b", "c", "d")
USERS = ("ann", "bob")
BIRTH = datetime(2024, 2, 29, 12, tzinfo=UTC)
LINGER_SECONDS = 5.0
NEWEST = 12
"""No job or deletion in a random history has a larger revision."""


class Table:
    """The rows of `bulk_enrichment_jobs` as the database keeps them: one ever growing revision, true ages."""

    def __init__(self) -> None:
        self.rows: dict[str, Job] = {}
        self._finished_at: dict[str, Instant] = {}
        self._revision = 0

    def write(self, row: Job, now: Instant) -> JobReported:
        """Insert or update a row at the next revision, and tell it."""
        self._revision += 1
        old = self.rows.get(row.id)
        self.rows[row.id] = replace(
            row, revision=self._revision, created_at=old.created_at if old else row.created_at
        )
        if not row.status.is_finished:
            self._finished_at.pop(row.id, None)
        elif old is None or not old.status.is_finished:
            self._finished_at[row.id] = now
        return self._report(row.id, now)

    def delete(self, job_id: str, now: Instant) -> JobDeleted:
        """Delete a row, and tell it."""
        gone = self.rows.pop(job_id)
        self._finished_at.pop(job_id, None)
        return JobDeleted(gone.id, gone.user_id, gone.revision, now)

    def snapshot(self, now: Instant, window_seconds: float) -> SnapshotTaken:
        """Every row at work, and those that finished within the window."""
        reports = [self._report(job_id, now) for job_id in self.rows]
        found = [report for report in reports if (report.finished_seconds or 0.0) < window_seconds]
        return SnapshotTaken(tuple(found), now)

    def _report(self, job_id: str, now: Instant) -> JobReported:
        finished_at = self._finished_at.get(job_id)
        return JobReported(
            deepcopy(self.rows[job_id]), now, None if finished_at is None else now - finished_at
        )


@dataclass(frozen=True, slots=True)
class Expiry:
    """Not a fact, but it stands among them in a history: the owner of the board calls `expire(now)`."""

    now: Instant


Step = Fact | Expiry
View = dict[str, dict[str, Job]]
ANY_TIME = Instant(0.0)
NO_PROGRESS = Progress()


def job(
    job_id: str = "a",
    revision: Revision = 1,
    status: Status = Status.RUNNING,
    *,
    user_id: str = "ann",
    progress: Progress = NO_PROGRESS,
    born_seconds: float = 0.0,
) -> Job:
    """A job with whatever a test does not care about filled in."""
    born = BIRTH + timedelta(seconds=born_seconds)
    return Job(job_id, user_id, status, revision, created_at=born, updated_at=born, progress=progress)


def seconds(longest: float = 12.0) -> st.SearchStrategy[float]:
    """Spans of time, in eighths of a second, 0 among them."""
    return st.integers(0, int(longest * 8)).map(lambda eighths: eighths / 8)


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    """Counts as the schema allows them: with a total known or unknown."""
    total = draw(st.integers(0, 20))
    completed = draw(st.integers(0, total or 20))
    failed = draw(st.integers(0, total - completed if total else 20))
    return Progress(total, completed, failed, draw(st.integers(0, 3)))


def jobs() -> st.SearchStrategy[Job]:
    """Few jobs of few users at few revisions."""
    return st.builds(
        job,
        st.sampled_from(IDS),
        st.integers(0, NEWEST),
        st.sampled_from(Status),
        user_id=st.sampled_from(USERS),
        progress=progresses(),
    ).map(_born)


def _born(row: Job) -> Job:
    """Every id has its own birth, and two share one, so that the order of a view is tried on a tie."""
    born = BIRTH + timedelta(seconds="acbd".index(row.id) // 2)
    return replace(row, created_at=born)


def reports() -> st.SearchStrategy[JobReported]:
    """Reports of jobs in any state; of a finished one with any age, or with none."""
    return st.builds(JobReported, jobs(), st.just(ANY_TIME), st.none() | seconds())


def deletions() -> st.SearchStrategy[JobDeleted]:
    """Deletions, of jobs that may never have been heard of."""
    return st.builds(
        JobDeleted, st.sampled_from(IDS), st.sampled_from(USERS), st.integers(0, NEWEST), st.just(ANY_TIME)
    )


def snapshots() -> st.SearchStrategy[SnapshotTaken]:
    """Snapshots, in which every id stands at most once."""
    found = st.lists(reports(), max_size=4, unique_by=lambda report: report.job.id)
    return st.builds(SnapshotTaken, found.map(tuple), st.just(ANY_TIME))


def facts() -> st.SearchStrategy[Fact]:
    """Any fact; reports are the most frequent."""
    return st.one_of(reports(), reports(), deletions(), snapshots())


def facts_of(job_id: str) -> st.SearchStrategy[list[Fact]]:
    """All that is told of one row from its birth on: reports, deletions, and births anew, in their order.

    A deletion carries the last revision of the row; a row that is born again goes on above it.
    """

    def told(writes: list[JobReported | None]) -> list[Fact]:
        life: list[Fact] = []
        for revision, report in enumerate(writes, start=1):
            if report is not None:
                life.append(replace(report, job=replace(report.job, id=job_id, revision=revision)))
            elif life and isinstance(last := life[-1], JobReported):
                life.append(JobDeleted(job_id, last.job.user_id, last.job.revision, ANY_TIME))
        return life

    return st.lists(st.one_of(reports(), reports(), st.none()), max_size=6).map(told)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Facts and expiries in the order of a clock that may start anywhere and never goes back."""
    now = draw(st.sampled_from([0.0, -100.0, 86_400.0]))
    history: list[Step] = []
    for pause_seconds, fact in draw(st.lists(st.tuples(seconds(4), facts() | st.none()), max_size=30)):
        now += pause_seconds
        history.append(dated(fact, Instant(now)) if fact else Expiry(Instant(now)))
    return history


def dated(fact: Fact, at: Instant) -> Fact:
    """The same fact, heard at another instant, and of objects of its own, as one that was decoded anew."""
    fact = deepcopy(fact)
    if isinstance(fact, SnapshotTaken):
        return SnapshotTaken(tuple(replace(report, at=at) for report in fact.reports), at)
    return replace(fact, at=at)


def take(board: Board, step: Step) -> Sequence[Change]:
    """Let one step happen to the board."""
    return board.expire(step.now) if isinstance(step, Expiry) else board.apply(step)


def replayed(history: Iterable[Step]) -> Board:
    """A board to which all of that has happened."""
    board = Board(linger_seconds=LINGER_SECONDS)
    for step in history:
        take(board, step)
    return board


def shown(board: Board) -> View:
    """What each user sees."""
    return {user: {job.id: job for job in board.view(user)} for user in USERS}


def summed(board: Board) -> dict[str, Totals]:
    """The sums that each user sees."""
    return {user: board.totals(user) for user in USERS}


def end(history: Sequence[Step]) -> Instant:
    """The instant at which a history ends."""
    return max((step.now if isinstance(step, Expiry) else step.at for step in history), default=ANY_TIME)
