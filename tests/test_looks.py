"""When a job is looked at again: the rules, by a clock of the tests' own."""

from progress_service.core.model import Instant
from progress_service.feeds.database import Sight
from progress_service.feeds.looks import (
    LOOKS_AT_ONCE_MAX,
    PAUSE_SECONDS_MAX,
    SILENCE_SECONDS,
    SLACK_SECONDS,
    Looks,
)

NEXT = 100
YOUNG = Sight(None, is_young=True, is_locked=True, oldest_open=NEXT, next_transaction=NEXT)
DUE_SECONDS = SILENCE_SECONDS + SLACK_SECONDS


def locked(*, oldest_open: int, next_transaction: int = NEXT) -> Sight:
    """A row whose silence is over, with a trace of somebody who wrote to it or locked it."""
    return Sight(None, False, True, oldest_open, next_transaction)  # noqa: FBT003 - in the query's order.


def heard(*job_ids: str) -> Looks:
    """These jobs were heard of at 0 s."""
    looks = Looks()
    for job_id in job_ids:
        looks.heard(job_id, Instant(0.0))
    return looks


def test_a_job_is_looked_at_when_its_silence_is_over() -> None:
    """Sooner would be in vain, and later would be seen."""
    looks = heard("a")
    assert looks.next_at == DUE_SECONDS
    assert looks.due(Instant(SILENCE_SECONDS / 2)) == []
    assert looks.due(Instant(DUE_SECONDS)) == ["a"]


def test_a_job_that_is_heard_of_again_waits_again() -> None:
    """While it is told of four times a second, nothing more than that is to be found."""
    looks = heard("a")
    looks.heard("a", Instant(0.2))
    assert looks.due(Instant(DUE_SECONDS)) == []
    assert looks.next_at == 0.2 + DUE_SECONDS


def test_jobs_that_would_soon_be_due_are_looked_at_together() -> None:
    """A question each would cost as much as the notifications that were saved."""
    looks = heard("a")
    looks.heard("b", Instant(SLACK_SECONDS))
    looks.heard("c", Instant(3 * SLACK_SECONDS))
    assert looks.due(Instant(DUE_SECONDS)) == ["a", "b"]


def test_nobody_is_asked_before_somebody_is_due() -> None:
    """Whoever soon would be is looked at with who is; by itself it waits, for others come until then."""
    assert heard("a").due(Instant(DUE_SECONDS - SLACK_SECONDS / 2)) == []


def test_one_question_is_about_so_many_jobs_at_most() -> None:
    """A hundred thousand rows would keep what is heard waiting meanwhile."""
    looks = heard(*map(str, range(LOOKS_AT_ONCE_MAX + 1)))
    assert len(looks.due(Instant(DUE_SECONDS))) == LOOKS_AT_ONCE_MAX
    assert len(looks.due(Instant(DUE_SECONDS))) == 1


def test_what_shows_nothing_is_settled() -> None:
    """Else each job would be looked at for as long as it is there."""
    looks = heard("a")
    looks.seen("a", None, Instant(1.0))
    assert (looks.all(), looks.due(Instant(1e6))) == ([], [])


def test_a_silence_that_is_not_over_is_waited_for_once_more() -> None:
    """Two machines' clocks need not agree on how long a quarter of a second is."""
    looks = heard("a")
    looks.seen("a", YOUNG, Instant(1.0))
    assert looks.next_at == 1.0 + DUE_SECONDS
    # What the row shows while it is young proves nothing about who may still write to it.
    looks.seen("a", locked(oldest_open=NEXT), Instant(2.0))
    assert looks.all() == ["a"]


def test_pauses_grow_while_a_transaction_stays_open() -> None:
    """It may be open for hours, and a look each 250 ms would help nobody."""
    looks = heard("a")
    now, pauses = Instant(1.0), []
    for _ in range(8):
        looks.seen("a", locked(oldest_open=NEXT - 1), now)
        pauses.append(looks.next_at - now)
        now = Instant(looks.next_at)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert max(pauses) == PAUSE_SECONDS_MAX


def test_a_trace_is_believed_no_more_when_all_who_may_have_left_it_are_gone() -> None:
    """Only those count that had a number when the silence was over: others are always at work."""
    looks = heard("a")
    looks.seen("a", locked(oldest_open=NEXT - 1), Instant(1.0))
    looks.seen("a", locked(oldest_open=NEXT - 1, next_transaction=NEXT + 50), Instant(2.0))
    assert looks.all() == ["a"]
    looks.seen("a", locked(oldest_open=NEXT, next_transaction=NEXT + 90), Instant(3.0))
    assert looks.all() == []


def test_a_report_begins_it_all_anew() -> None:
    """A new silence has writers of its own, with larger numbers."""
    looks = heard("a")
    looks.seen("a", locked(oldest_open=NEXT - 1), Instant(1.0))
    looks.heard("a", Instant(2.0))
    looks.seen("a", locked(oldest_open=NEXT, next_transaction=NEXT + 10), Instant(3.0))
    assert looks.all() == ["a"]


def test_a_job_that_has_ended_is_looked_at_no_more() -> None:
    """Whatever befalls it is told; an answer that was under way changes nothing."""
    looks = heard("a", "b")
    assert looks.due(Instant(DUE_SECONDS)) == ["a", "b"]
    looks.forget(["a"])
    looks.seen("a", YOUNG, Instant(1.0))
    assert looks.all() == ["b"]
