"""The tests of the tests: whatever is broken on purpose must be noticed, or the simulation proves nothing."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from progress_service.core import board
from progress_service.core.board import Board, Change, Departure
from progress_service.core.events import FeedState, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Instant, Job
from progress_service.feeds import looks, notify
from progress_service.streams import publisher
from progress_service.streams.hub import Hub
from progress_service.streams.stream import Part, Rest, Stream
from tests.sim.simulation import Failure, failures

SCHEDULES_MAX = 10_000
"""Each defect shows early in what is run with every `make test`; most do within a hundred schedules."""


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str, object], None]:
    """Put a broken part in the place of a sound one."""
    return monkeypatch.setattr


def first_failure(first: int = 0) -> Failure:
    """What the simulation says about what was broken, from the *first* schedule on."""
    failure = next(failures(range(first, SCHEDULES_MAX)), None)
    assert failure is not None, f"{SCHEDULES_MAX} schedules found nothing"
    return failure


def test_a_feed_that_skips_the_marker(plant: Any) -> None:
    """Without it `live` would be said, and a service be ready, before it knows what it should."""

    async def catch_up(session: Any) -> None:
        session._intake.clear()
        snapshot = await session.snapshot()
        session.ledger.went_live()
        session.pass_on([snapshot], FeedState.LIVE)

    plant(notify._Session, "_catch_up", catch_up)
    assert first_failure().fault.law in {"promise", "convergence"}


def test_a_snapshot_that_is_applied_without_what_was_heard_meanwhile(plant: Any) -> None:
    """What was committed while the snapshot was on its way would be missing until the next change."""
    sound = notify._Session._catch_up

    async def catch_up(session: Any) -> None:
        pass_on = session.pass_on
        session.pass_on = lambda told, state: pass_on(told[:1], state)
        try:
            await sound(session)
        finally:
            session.pass_on = pass_on

    plant(notify._Session, "_catch_up", catch_up)
    assert first_failure().fault.law in {"promise", "convergence"}


def test_a_feed_that_hears_nothing_of_a_truncation_while_it_catches_up(plant: Any) -> None:
    """Rows that are gone would be shown until the next snapshot, which may be days away."""
    hear = notify._Session._hear

    async def hear_on(session: Any, within_seconds: float) -> Any:
        try:
            return await hear(session, within_seconds)
        except notify.ResyncAskedError:
            return []

    plant(notify._Session, "_hear", hear_on)
    assert first_failure().fault.law in {"promise", "convergence"}


def test_a_feed_that_forgets_to_look_again(plant: Any) -> None:
    """The last step of a burst would not be shown before the next one, which may be far off."""
    plant(looks.Looks, "heard", lambda *_: None)
    assert first_failure().fault.law == "convergence"


def test_a_feed_that_does_not_wait_for_open_transactions(plant: Any) -> None:
    """What was written in silence, and committed after the look, would stay unseen."""
    seen = looks.Looks.seen

    def seen_once(self: looks.Looks, job_id: str, sight: Any, now: Instant) -> None:
        seen(self, job_id, sight if sight and sight.is_young else None, now)

    plant(looks.Looks, "seen", seen_once)
    assert first_failure().fault.law == "convergence"


def test_a_feed_that_looks_at_nothing_of_a_snapshot_again(plant: Any) -> None:
    """A service that starts in the middle of a burst would miss its end."""
    snapshot = notify._Session.snapshot

    async def snapshot_alone(session: Any) -> Any:
        taken = await snapshot(session)
        session.unsettled = ()
        return taken

    plant(notify._Session, "snapshot", snapshot_alone)
    assert first_failure().fault.law in {"promise", "convergence"}


def test_an_order_by_date(plant: Any) -> None:
    """A clock that is set back would freeze every job that is written meanwhile."""

    def reduce_by_date(job: Job | None, fact: JobReported | JobDeleted) -> Job | None:
        if isinstance(fact, JobReported):
            return fact.job if job is None or fact.job.updated_at > job.updated_at else job
        return None

    plant(board, "reduce_job", reduce_by_date)
    assert first_failure().fault.law in {"promise", "convergence", "farewell", "last words"}


def test_a_board_that_forgets_tombstones(plant: Any) -> None:
    """A late report would bring back what is gone."""
    plant(Board, "_bury", lambda *_: None)
    assert first_failure().fault.law in {"no way back", "convergence", "sums"}


def test_a_snapshot_that_leaves_no_tombstones(plant: Any) -> None:
    """A late report would bring back what a snapshot took away."""
    bury, replace = Board._bury, Board._replace

    def replace_without(self: Board, fact: SnapshotTaken) -> Sequence[Change]:
        plant(Board, "_bury", lambda *_: None)
        try:
            return replace(self, fact)
        finally:
            plant(Board, "_bury", bury)

    plant(Board, "_replace", replace_without)
    assert first_failure().fault.law in {"no way back", "convergence"}


def test_an_eviction_that_a_retry_does_not_void(plant: Any) -> None:
    """A job that is tried again would vanish from under the eyes of who started it."""

    def expire(self: Board, now: Instant) -> Sequence[Change]:
        changes = []
        while self._deadlines and self._deadlines[0][0] <= now:
            *_, job_id = self._deadlines.pop(0)
            if job_id in self._entries:
                job = self._entries[job_id].job
                self._remove(job, now)
                changes.append(Change(job, Departure.EVICTED))
        return changes

    plant(Board, "expire", expire)
    assert first_failure().fault.law in {"farewell", "convergence"}


def test_a_hub_that_forgets_a_stream_that_was_behind(plant: Any) -> None:
    """A page that stalled once would show the past until its next change."""

    async def catch_up(_: Hub, stream: Stream, rest: Rest) -> None:
        await rest
        stream.is_behind = stream.has_missed = False

    plant(Hub, "_catch_up", catch_up)
    assert first_failure().fault.law in {"convergence", "sums", "ends"}


def test_a_stream_that_goes_on_after_its_end(plant: Any) -> None:
    """A server takes a frame after the last one for a mistake, and says so in the log each time."""
    push = Stream.push

    def push_on(stream: Stream, part: Part) -> Rest | None:
        send, answer = stream._send, stream._answer
        rest = push(stream, part)
        if part.chunk is None:
            stream._send, stream._answer = send, answer
        return rest

    plant(Stream, "push", push_on)
    assert first_failure().fault.law == "ends"


def test_a_publisher_that_merges_an_end_away(plant: Any) -> None:
    """Whoever watches a job until it ends would only see that it is gone."""

    def gather(pending: dict[str, Any], change: Change) -> None:
        pending.pop(change.job.id, None)
        job = change.job if change.departure is None else None
        pending[change.job.id] = publisher._Pending(job, change.departure)

    plant(publisher, "_gather", gather)
    assert first_failure().fault.law == "last words"


def test_a_publisher_that_keeps_what_it_gathered_for_those_who_left(plant: Any) -> None:
    """A page that is loaded again would be told of the time before."""
    note = publisher.Publisher._note

    def note_watched(
        self: publisher.Publisher, changes: Sequence[Change], *reports: Any, at_once: bool = False
    ) -> None:
        watched = [change for change in changes if self._is_watched(change.job.user_id)]
        note(self, watched, *reports, at_once=at_once)

    plant(publisher.Publisher, "_note", note_watched)
    # It takes a rare order of things; those before would only take time.
    assert first_failure(3_700).fault.law in {"no way back", "sums"}


def test_a_publisher_that_takes_deafness_for_silence(plant: Any) -> None:
    """While nothing is heard of any job, all of them would be said to hang."""
    plant(publisher.Publisher, "_believed", lambda _, estimate: estimate)
    assert first_failure().fault.law == "deafness"
