"""Mutation tests of the simulation: each planted defect violates an invariant within the schedules."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from progress_service.core.aggregates import UserJobs
from progress_service.core.model import Instant, Job
from progress_service.core.reducer import ActiveJobs, JobChange, RemovalReason
from progress_service.feeds.feed import Feed
from progress_service.feeds.notify import TRUNCATED, NotifySource
from progress_service.feeds.poll import Reconciler, RevisionComparison
from progress_service.feeds.reader import Reader
from progress_service.streams import publisher
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Part, Rest, Stream
from tests.sim.simulation import failures

SCHEDULES_MAX = 10_000
"""Each defect shows early in what is run with every `make test`; most do within a hundred schedules."""

Plant = Callable[[object, str, object], None]
UNREAD = {"freshness", "all read", "convergence"}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Put a defective part in the place of a sound one."""
    return monkeypatch.setattr


def violated(first: int = 0) -> str:
    """The first invariant that does not hold, in the schedules from the *first* on.

    What takes a rare order of steps starts shortly before the schedule that finds it.
    """
    failure = next(failures(range(first, SCHEDULES_MAX)), None)
    assert failure is not None, f"{SCHEDULES_MAX} schedules found nothing"
    print(f"found in schedule {failure.schedule.setup.seed}: {failure.violation}")
    return failure.violation.invariant


# The feed.


def test_a_hint_of_a_job_whose_read_is_under_way_is_lost(plant: Plant) -> None:
    """The read may have seen the row before the change, so its last state is never read."""
    hint, read = Reader.hint, Reader._read
    under_way: set[str] = set()

    async def read_on(self: Reader, batch: dict[str, Instant], *timeout_seconds: float) -> None:
        under_way.update(batch)
        try:
            await read(self, batch, *timeout_seconds)
        finally:
            under_way.clear()

    plant(Reader, "_read", read_on)
    plant(Reader, "hint", lambda self, job_id: None if job_id in under_way else hint(self, job_id))
    assert violated() in UNREAD


def test_a_reader_skips_a_batch_after_an_error(plant: Plant) -> None:
    """The readable rows beside an unreadable one are not read."""
    fetch = Reader._fetch

    async def fetch_once(self: Reader, job_ids: Sequence[str], timeout_seconds: float) -> list[Any]:
        found = await fetch(self, job_ids, timeout_seconds)
        return found if len(found) == len(job_ids) or not self._counters.rows_malformed else []

    plant(Reader, "_fetch", fetch_once)
    assert violated() in UNREAD


def test_a_malformed_row_keeps_its_last_state_on_the_pages(plant: Plant) -> None:
    """What the table says can no longer be shown, and pages show what it said before."""
    deliver, revision = Reader._deliver, Publisher.revision

    def deliver_rows(self: Reader, batch: dict[str, Instant], records: Sequence[Any]) -> None:
        if len(records) < len(batch):
            deliver(self, batch, records)
            return
        plant(Publisher, "revision", lambda *_: None)
        deliver(self, batch, records)
        plant(Publisher, "revision", revision)

    plant(Reader, "_deliver", deliver_rows)
    assert violated() in UNREAD


def test_all_rows_are_read_before_listen(plant: Plant) -> None:
    """What is committed in between gives no hint, and is in no read."""
    open_first, read_all = Feed._open_first, Feed._read_all

    async def read_and_open(self: Feed, stack: Any, link: Any) -> Any:
        await read_all(self, link)
        return await open_first(self, stack, link)

    async def read_nothing(*_: object) -> None:
        pass

    plant(Feed, "_open_first", read_and_open)
    plant(Feed, "_read_all", read_nothing)
    assert violated() in UNREAD


def test_a_reconnect_does_not_read_the_known_jobs(plant: Plant) -> None:
    """Jobs that were deleted meanwhile, or lost in a fail-over, stay on the pages."""

    async def read_active(self: Feed, link: Any) -> None:
        await link.reader.read_all(await self._comparison.active_ids(link.connection, 4.0))

    plant(Feed, "_read_all", read_active)
    assert violated() in UNREAD


def test_deferred_hints_are_never_read(plant: Plant) -> None:
    """Jobs of users without a stream stay as they were until their row changes again."""
    tick = Reader._tick

    def tick_on(self: Reader) -> None:
        deferred, self._deferred = self._deferred, {}
        tick(self)
        self._deferred = deferred

    plant(Reader, "_tick", tick_on)
    assert violated() in UNREAD


def test_an_opened_stream_promotes_nothing(plant: Plant) -> None:
    """A page that was just opened shows the past for up to a second."""
    plant(Feed, "promote", lambda *_: None)
    assert violated() == "freshness"


def test_dropped_hints_are_not_replaced_by_a_comparison(plant: Plant) -> None:
    """What more hints than the limit named is not read."""
    hint = Reader.hint

    def hint_only(self: Reader, job_id: str) -> None:
        request, self._request_comparison = self._request_comparison, lambda: None
        hint(self, job_id)
        self._request_comparison = request

    plant(Reader, "hint", hint_only)
    assert violated() in UNREAD


def test_a_reconciliation_counts_dropped_hints_as_missed(plant: Plant) -> None:
    """The log says that the feed has a defect whenever hints are dropped during a reconciliation."""

    class RequestForgetter:
        """The comparison's sleep; it forgets what was requested meanwhile."""

        def __init__(self, reconciler: Reconciler) -> None:
            self._reconciler = reconciler
            self._sleep = reconciler._due

        async def sleep(self, seconds: float) -> None:
            await self._sleep.sleep(seconds)
            self._reconciler.forget_request()

        def wake(self) -> None:
            self._sleep.wake()

    async def compare(self: Reconciler, *arguments: Any) -> None:
        sleep = self._due
        plant(self, "_due", RequestForgetter(self))
        await sound(self, *arguments)
        plant(self, "_due", sleep)

    sound = Reconciler._compare
    plant(Reconciler, "_compare", compare)
    assert violated(first=4_500) in UNREAD | {"repairs"}


def test_a_comparison_overlooks_absent_rows(plant: Plant) -> None:
    """Jobs of a truncated table stay on the pages."""
    differences = RevisionComparison.differences

    async def differences_of_rows(self: RevisionComparison, connection: Any) -> Any:
        found = await differences(self, connection)
        return {job_id: each for job_id, each in found.items() if each.found is not None}

    plant(RevisionComparison, "differences", differences_of_rows)
    assert violated() in UNREAD


def test_a_truncation_is_ignored(plant: Plant) -> None:
    """Jobs of a truncated table stay on the pages."""
    receive = NotifySource.receive

    def receive_ids(self: NotifySource, payload: str) -> None:
        if payload != TRUNCATED:
            receive(self, payload)

    plant(NotifySource, "receive", receive_ids)
    assert violated() in UNREAD | {"repairs"}


def test_every_second_hint_is_lost(plant: Plant) -> None:
    """Only a reconciliation finds the changes, and counts them as repairs."""
    receive, ids = NotifySource.receive, count()

    def receive_some(self: NotifySource, payload: str) -> None:
        if payload.startswith("probe") or next(ids) % 2:
            receive(self, payload)

    plant(NotifySource, "receive", receive_some)
    assert violated() in UNREAD | {"repairs"}


def test_no_probe_shows_that_listen_no_longer_works(plant: Plant) -> None:
    """The feed says that it is live, and receives nothing."""

    async def pass_always(*_: object) -> None:
        pass

    plant(NotifySource, "probe", pass_always)
    assert violated() in UNREAD | {"outage"}


# The reducer.


def test_the_highest_revision_wins(plant: Plant) -> None:
    """After a fail-over that lost commits, jobs stay as they never were."""
    upsert = ActiveJobs._upsert

    def upsert_newer(self: ActiveJobs, event: Any) -> Sequence[JobChange]:
        known = self.job(event.job.id)
        return () if known and event.job.revision < known.revision else upsert(self, event)

    plant(ActiveJobs, "_upsert", upsert_newer)
    assert violated() in UNREAD | {"last read"}


def test_a_retry_does_not_cancel_the_eviction(plant: Plant) -> None:
    """A job that is tried again leaves the pages while it runs."""

    def expire(self: ActiveJobs, now: Instant) -> Sequence[JobChange]:
        changes = []
        while self._deadlines and self._deadlines[0][0] <= now:
            *_, job_id = self._deadlines.pop(0)
            if (job := self.job(job_id)) is not None:
                self._remove(job)
                changes.append(JobChange(job, RemovalReason.EVICTED))
        return changes

    plant(ActiveJobs, "expire", expire)
    assert violated() in {"farewell", "last read", "convergence"}


def test_finished_jobs_leave_early(plant: Plant) -> None:
    """No page shows a bar at its end."""
    expiry = ActiveJobs._expiry
    plant(ActiveJobs, "_expiry", lambda self, event: expiry(self, event) - self.linger_seconds / 2)
    assert violated() in {"last read", "convergence"}


def test_a_sum_forgets_what_it_subtracts(plant: Plant) -> None:
    """Totals grow with every change."""

    def remove(self: UserJobs, job: Job) -> None:
        self.active -= not job.status.is_finished
        self.total -= job.progress.total

    plant(UserJobs, "remove", remove)
    assert violated() == "sums"


def test_a_job_that_is_given_away_stays_with_its_former_owner(plant: Plant) -> None:
    """A user is sent another one's job."""
    upsert = ActiveJobs._upsert

    def upsert_and_keep(self: ActiveJobs, event: Any) -> Sequence[JobChange]:
        changes = upsert(self, event)
        if len(changes) > 1:
            self._users.setdefault(changes[0].job.user_id, UserJobs()).add(event.job)
            self._users[changes[0].job.user_id].entries[event.job.id] = self._entries[event.job.id]
        return changes

    plant(ActiveJobs, "_upsert", upsert_and_keep)
    assert violated() in {"truth", "last read", "sums"}


# Publisher, hub and streams.


def test_a_publisher_sends_lower_revisions_without_a_snapshot(plant: Plant) -> None:
    """Clients ignore them, so after a fail-over pages show what is lost."""
    gather = publisher._gather

    def gather_unmarked(pending: dict[str, Any], change: JobChange) -> None:
        gather(pending, change)
        pending[change.job.id].is_rewind = False

    plant(publisher, "_gather", gather_unmarked)
    assert violated() in {"sums", "last read", "convergence"}


def test_a_publisher_merges_an_end_away(plant: Plant) -> None:
    """A page sees that a job is gone, and not that it ended."""

    def gather(pending: dict[str, Any], change: JobChange) -> None:
        news = pending.pop(change.job.id, None)
        job = change.job if change.removal is None else None
        is_rewind = change.is_rewind or (news is not None and (news.is_rewind or bool(news.departure)))
        pending[change.job.id] = publisher._Pending(job, change.removal, is_rewind=is_rewind)

    plant(publisher, "_gather", gather)
    assert violated(first=1_700) in {"last words", "farewell"}


def test_a_publisher_keeps_changes_of_users_who_left(plant: Plant) -> None:
    """A page that is loaded again is sent changes that are older than its snapshot."""
    note = Publisher._note

    def note_watched(self: Publisher, changes: Sequence[JobChange], *arguments: Any) -> None:
        watched = [change for change in changes if self._is_watched(change.job.user_id)]
        note(self, watched, *arguments)

    plant(Publisher, "_note", note_watched)
    assert violated(first=5_780) in {"no way back", "sums", "last read"}


def test_a_publisher_reports_stalls_while_the_feed_is_lost(plant: Plant) -> None:
    """Nothing is read of any job then, so all of them would be said to stall."""
    plant(Publisher, "_believed", lambda _, estimate: estimate)
    assert violated() == "false stall"


def test_a_hub_forgets_a_stream_that_was_behind(plant: Plant) -> None:
    """A page that stalled once shows the past until its next change."""

    async def catch_up(_: Hub, stream: Stream, rest: Rest) -> None:
        await rest
        stream.is_behind = stream.has_missed = False

    plant(Hub, "_catch_up", catch_up)
    assert violated() in {"convergence", "sums", "ends", "last read"}


def test_a_stream_goes_on_after_its_end(plant: Plant) -> None:
    """A server rejects a frame after the last one, and logs that each time."""
    push = Stream.push

    def push_on(stream: Stream, part: Part) -> Rest | None:
        send, answer = stream._send, stream._answer
        rest = push(stream, part)
        if part.chunk is None:
            stream._send, stream._answer = send, answer
        return rest

    plant(Stream, "push", push_on)
    assert violated() == "ends"
