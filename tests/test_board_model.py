"""The board against a naive model, in a world of a table, reports under way, reconnects and time.

The model remembers everything that was ever heard and works out each id's fate anew, from the beginning,
whenever it is asked. It knows no heap, no tombstones that are forgotten, no sums kept by difference.
"""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from progress_service.core.board import TOMBSTONE_SECONDS, Board
from progress_service.core.events import JobDeleted, JobReported
from progress_service.core.model import FINISHED, Instant, Job, Status
from progress_service.core.reduce import MOVES
from progress_service.core.totals import recount
from tests.strategies import (
    ANY_TIME,
    IDS,
    LINGER_SECONDS,
    USERS,
    Expiry,
    Step,
    Table,
    dated,
    jobs,
    seconds,
    shown,
    take,
)


class Fate:
    """What a history makes of one id: the job that is shown, if any, and when it has to go."""

    def __init__(self, job_id: str, history: Sequence[Step]) -> None:
        self.job: Job | None = None
        self.deadline: Instant | None = None
        self.illegal_moves = 0
        self._id = job_id
        # What is not above this is no news.
        self._revision = -1
        for step in history:
            self._live_through(step)

    def _live_through(self, step: Step) -> None:
        match step:
            case Expiry():
                if self.deadline is not None and self.deadline <= step.now:
                    self._leave()
            case JobReported():
                if step.job.id == self._id and step.job.revision > self._revision:
                    self._become(step)
            case JobDeleted():
                if step.id == self._id and step.revision >= self._revision:
                    self._revision = step.revision
                    self._leave()
            case _:
                found = [report for report in step.reports if report.job.id == self._id]
                for report in found:
                    self._live_through(report)
                if not found:
                    self._leave()

    def _become(self, report: JobReported) -> None:
        new, old = report.job, self.job
        self._revision = new.revision
        deadline = Instant(report.at + LINGER_SECONDS - (report.finished_seconds or 0.0))
        if new.status not in FINISHED:
            self.job, self.deadline = new, None
        elif old is not None or deadline > report.at:
            self.job, self.deadline = new, deadline
        if old is not None and new.status not in MOVES[old.status]:
            self.illegal_moves += 1

    def _leave(self) -> None:
        self.job = self.deadline = None


class BoardInTheWorld(RuleBasedStateMachine):
    """Rows are written; reports of them come late, twice, or in another order; feeds start anew."""

    def __init__(self) -> None:
        super().__init__()
        self.now = ANY_TIME
        self.table = Table()
        self.under_way: list[tuple[Instant, JobReported | JobDeleted]] = []
        self.board = Board(linger_seconds=LINGER_SECONDS)
        self.history: list[Step] = []
        self.mirror: dict[str, dict[str, Job]] = {user: {} for user in USERS}

    def happen(self, step: Step) -> None:
        """Let the board and the model know."""
        self.history.append(step)
        for change in take(self.board, step):
            if change.departure is None:
                self.mirror[change.job.user_id][change.job.id] = change.job
            else:
                del self.mirror[change.job.user_id][change.job.id]

    @initialize(now=st.sampled_from([0.0, -100.0, 86_400.0]))
    def start(self, now: float) -> None:
        """A monotonic clock starts anywhere."""
        self.now = Instant(now)

    @rule(row=jobs())
    def write(self, row: Job) -> None:
        """Insert or update a row."""
        self.under_way.append((self.now, self.table.write(row, self.now)))

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data(), status=st.sampled_from(Status))
    def move(self, data: st.DataObject, status: Status) -> None:
        """Change the status of a row that is there."""
        row = self.table.rows[data.draw(st.sampled_from(sorted(self.table.rows)))]
        self.write(replace(row, status=status))

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete a row."""
        job_id = data.draw(st.sampled_from(sorted(self.table.rows)))
        self.under_way.append((self.now, self.table.delete(job_id, self.now)))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), will_come_again=st.booleans())
    def hear(self, data: st.DataObject, will_come_again: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name.
        """One of the reports under way arrives, perhaps not for the last time."""
        place = data.draw(st.integers(0, len(self.under_way) - 1))
        _, fact = self.under_way[place]
        if not will_come_again:
            del self.under_way[place]
        self.happen(dated(fact, self.now))

    @rule(window_more_seconds=seconds(40))
    def reconnect(self, window_more_seconds: float) -> None:
        """A feed starts anew with a snapshot.

        What was under way of rows that are in it may still come. What was under way of others may not: a feed
        hears of one row in order, so by then their deletion or their end was told.
        """
        snapshot = self.table.snapshot(self.now, LINGER_SECONDS + window_more_seconds)
        found = {report.job.id for report in snapshot.reports}
        self.under_way = [(at, fact) for at, fact in self.under_way if _job_id(fact) in found]
        self.happen(snapshot)

    @rule(pause_seconds=seconds(20))
    def wait(self, pause_seconds: float) -> None:
        """Time goes by. Nothing is under way for longer than tombstones are kept."""
        self.now = Instant(self.now + pause_seconds)
        oldest = self.now - TOMBSTONE_SECONDS
        self.under_way = [(at, fact) for at, fact in self.under_way if at > oldest]

    @rule()
    def expire(self) -> None:
        """The timer fires, whether or not something is due."""
        self.happen(Expiry(self.now))

    @precondition(lambda self: self.board.next_deadline is not None)
    @rule()
    def wake(self) -> None:
        """The timer fires when the board asked for it."""
        deadline = self.board.next_deadline
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.expire()

    @invariant()
    def agrees_with_the_model(self) -> None:
        """The board shows, counts, sums and plans what follows from all that was heard."""
        fates = {job_id: Fate(job_id, self.history) for job_id in IDS}
        for job_id, fate in fates.items():
            assert self.board.job(job_id) == fate.job
        alive = [fate.job for fate in fates.values() if fate.job is not None]
        assert len(self.board) == len(alive)
        assert self.board.illegal_moves == sum(fate.illegal_moves for fate in fates.values())
        for user in USERS:
            view = [job for job in alive if job.user_id == user]
            view.sort(key=lambda job: (job.created_at, job.id), reverse=True)
            assert self.board.view(user) == view
            assert self.board.totals(user) == recount(view)
            at_work = [job for job in view if job.status not in FINISHED]
            assert self.board.latest(user) == next(iter(at_work + view), None)

    @invariant()
    def wakes_in_time(self) -> None:
        """The next deadline is not later than the first that the model knows."""
        deadlines = [Fate(job_id, self.history).deadline for job_id in IDS]
        if due := [deadline for deadline in deadlines if deadline is not None]:
            assert self.board.next_deadline is not None
            assert self.board.next_deadline <= min(due)

    @invariant()
    def told_all_changes(self) -> None:
        """Whoever followed the changes alone sees the same board."""
        assert self.mirror == shown(self.board)


def _job_id(fact: JobReported | JobDeleted) -> str:
    return fact.job.id if isinstance(fact, JobReported) else fact.id


BoardInTheWorld.TestCase.settings = settings(deadline=None)
TestBoardInTheWorld = BoardInTheWorld.TestCase
