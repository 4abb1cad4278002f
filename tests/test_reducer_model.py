"""Model test of the reducer: a table with reads, restores and time, against a map without any bookkeeping."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from progress_service.core.aggregates import recount
from progress_service.core.estimate import NEVER
from progress_service.core.events import Event, JobDeleted, JobUpserted
from progress_service.core.model import FINISHED, Instant, Job, Status
from progress_service.core.reducer import TRANSITIONS, ActiveJobs, JobChange, RemovalReason
from tests.strategies import BIRTH, IDS, LINGER_SECONDS, USERS, jobs, seconds


class Table:
    """The rows of `bulk_enrichment_jobs`, with the revision and the dates that its trigger sets."""

    def __init__(self) -> None:
        self.rows: dict[str, Job] = {}
        self.finished_at: dict[str, Instant] = {}

    def write(self, row: Job, now: Instant) -> None:
        """Insert or update a row at its next revision."""
        old = self.rows.get(row.id)
        if row.status not in FINISHED:
            self.finished_at.pop(row.id, None)
        elif old is None or old.status not in FINISHED:
            self.finished_at[row.id] = now
        finished_at = self.finished_at.get(row.id)
        self.rows[row.id] = replace(
            row,
            revision=old.revision + 1 if old else row.revision,
            created_at=old.created_at if old else row.created_at,
            finished_at=None if finished_at is None else BIRTH + timedelta(seconds=finished_at),
        )

    def delete(self, job_id: str) -> None:
        """Delete a row."""
        del self.rows[job_id]
        self.finished_at.pop(job_id, None)

    def read(self, job_id: str, now: Instant) -> Event:
        """The event of a read, with a job of its own, as the decoder makes it."""
        if job_id not in self.rows:
            return JobDeleted(job_id, now)
        finished_at = self.finished_at.get(job_id)
        age_seconds = None if finished_at is None else now - finished_at
        return JobUpserted(deepcopy(self.rows[job_id]), now, age_seconds)


class Model:
    """What the map should have: of each id the job that is shown and its deadline."""

    def __init__(self) -> None:
        self.shown: dict[str, tuple[Job, Instant]] = {}
        self.illegal_moves = 0

    def apply(self, event: Event) -> list[JobChange]:
        """Take the event as the truth; the changes that follow."""
        if isinstance(event, JobDeleted):
            gone = self.shown.pop(event.id, None)
            return [] if gone is None else [JobChange(gone[0], RemovalReason.DELETED, is_urgent=True)]
        new = event.job
        is_finished = new.status in FINISHED
        age_seconds = event.finished_age_seconds or 0.0
        deadline = Instant(event.at - age_seconds + LINGER_SECONDS) if is_finished else NEVER
        if new.id not in self.shown:
            if deadline <= event.at:
                return []
            self.shown[new.id] = new, deadline
            return [JobChange(new, is_urgent=True)]
        old, _ = self.shown[new.id]
        if old == new:
            return []
        self.shown[new.id] = new, deadline
        is_next = (new.revision, new.created_at) == (old.revision + 1, old.created_at)
        self.illegal_moves += is_next and new.status not in TRANSITIONS[old.status]
        if old.user_id != new.user_id:
            return [JobChange(old, RemovalReason.DELETED, is_urgent=True), JobChange(new, is_urgent=True)]
        is_rewind = new.revision < old.revision
        return [JobChange(new, is_urgent=old.status is not new.status, is_rewind=is_rewind)]

    def expire(self, now: Instant) -> list[JobChange]:
        """The finished jobs whose time is over leave, in the order of their deadlines."""
        due = sorted((deadline, job.id) for job, deadline in self.shown.values() if deadline <= now)
        return [JobChange(self.shown.pop(job_id)[0], RemovalReason.EVICTED) for _, job_id in due]


class ReadsOfATable(RuleBasedStateMachine):
    """Rows are written, deleted and restored; reads come late, in any order, and more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Instant(0.0)
        self.table = Table()
        self.backup = deepcopy(self.table)
        self.jobs = ActiveJobs(linger_seconds=LINGER_SECONDS)
        self.model = Model()
        self.mirror: dict[str, dict[str, Job]] = {user: {} for user in USERS}

    def follow(self, changes: Sequence[JobChange], expected: Sequence[JobChange]) -> None:
        """Compare the changes, and keep a mirror by them alone."""
        assert [*changes] == [*expected]
        for change in changes:
            if change.removal is None:
                self.mirror[change.job.user_id][change.job.id] = change.job
            else:
                del self.mirror[change.job.user_id][change.job.id]

    def read(self, job_ids: Iterable[str]) -> None:
        """Read these rows."""
        for job_id in job_ids:
            event = self.table.read(job_id, self.now)
            self.follow(self.jobs.apply(event), self.model.apply(event))

    @initialize(now=st.sampled_from([0.0, -100.0, 86_400.0]))
    def start(self, now: float) -> None:
        """A monotonic clock starts anywhere."""
        self.now = Instant(now)

    @rule(row=jobs())
    def write(self, row: Job) -> None:
        """Insert or update a row."""
        self.table.write(row, self.now)

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data(), status=st.sampled_from(Status), is_read=st.booleans())
    def change_status(self, data: st.DataObject, status: Status, *, is_read: bool) -> None:
        """Change the status of a row, and perhaps read it at once, so that its next version is seen."""
        row = self.table.rows[data.draw(st.sampled_from(sorted(self.table.rows)))]
        self.table.write(replace(row, status=status), self.now)
        if is_read:
            self.read([row.id])

    @precondition(lambda self: self.table.rows)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete a row."""
        self.table.delete(data.draw(st.sampled_from(sorted(self.table.rows))))

    @rule()
    def back_up(self) -> None:
        """Keep a copy of the table."""
        self.backup = deepcopy(self.table)

    @rule()
    def restore(self) -> None:
        """The table goes back in time, as after a fail-over that lost commits."""
        self.table = deepcopy(self.backup)

    @rule(job_ids=st.lists(st.sampled_from(IDS), max_size=6))
    def hint(self, job_ids: list[str]) -> None:
        """Some rows are read, changed or not, and some of them twice."""
        self.read(job_ids)

    @rule()
    def read_all(self) -> None:
        """After a read of all rows the map equals one that begins now, and a second read changes nothing."""
        self.read(IDS)
        self.expire()
        new = ActiveJobs(linger_seconds=LINGER_SECONDS)
        for job_id in IDS:
            new.apply(self.table.read(job_id, self.now))
            assert not self.jobs.apply(self.table.read(job_id, self.now))
        for user in USERS:
            assert self.jobs.view(user) == new.view(user)
        assert self._deadlines(self.jobs) == self._deadlines(new)

    @rule(pause_seconds=seconds(20))
    def wait(self, pause_seconds: float) -> None:
        """Time passes."""
        self.now = Instant(self.now + pause_seconds)

    @rule()
    def expire(self) -> None:
        """The timer fires, whether or not something is due."""
        self.follow(self.jobs.expire(self.now), self.model.expire(self.now))
        assert self.jobs.next_deadline is None or self.jobs.next_deadline > self.now

    @precondition(lambda self: self.jobs.next_deadline is not None)
    @rule()
    def wake(self) -> None:
        """The timer fires when the map asked for it."""
        assert self.jobs.next_deadline is not None
        self.now = max(self.now, self.jobs.next_deadline)
        self.expire()

    @invariant()
    def agrees_with_the_model(self) -> None:
        """The map shows, counts and sums what the model shows; the changes alone lead to the same jobs."""
        shown = {job_id: job for job_id, (job, _) in self.model.shown.items()}
        assert {job_id: self.jobs.job(job_id) for job_id in self.jobs.ids} == shown
        assert len(self.jobs) == len(shown)
        assert self.jobs.illegal_moves == self.model.illegal_moves
        for user in USERS:
            view = [job for job in shown.values() if job.user_id == user]
            view.sort(key=lambda job: (job.created_at, job.id), reverse=True)
            assert self.jobs.view(user) == view
            assert {*self.jobs.job_ids(user)} == self.mirror[user].keys() == {job.id for job in view}
            assert all(self.mirror[user][job.id] == job for job in view)
            assert self.jobs.totals(user) == recount(view)
            active = [job for job in view if job.status not in FINISHED]
            assert self.jobs.latest(user) == next(iter(active + view), None)

    @invariant()
    def wakes_in_time(self) -> None:
        """The next deadline is not later than the first that the model knows."""
        due = min((deadline for _, deadline in self.model.shown.values()), default=NEVER)
        if due != NEVER:
            assert self.jobs.next_deadline is not None
            assert self.jobs.next_deadline <= due

    @staticmethod
    def _deadlines(jobs: ActiveJobs) -> dict[str, Instant]:
        """When each finished job leaves, found by a copy of the map that expires step by step."""
        copied, deadlines = deepcopy(jobs), dict[str, Instant]()
        while (deadline := copied.next_deadline) is not None:
            deadlines |= {change.job.id: deadline for change in copied.expire(deadline)}
        return deadlines


ReadsOfATable.TestCase.settings = settings(deadline=None, max_examples=50)
TestReadsOfATable = ReadsOfATable.TestCase
