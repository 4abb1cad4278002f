"""Whom a relay believes to be watched: it encodes and sends for nobody else."""

from progress_service.cluster.interest import LEASE_SECONDS, Interest
from progress_service.core.model import Instant
from progress_service.wire.frames import View

FULL, BOTH = frozenset({View.FULL}), frozenset(View)


def test_nobody_is_watched_unless_an_edge_says_so() -> None:
    """Users whom nobody watches must cost nothing."""
    interest = Interest()
    assert interest.views("ada", Instant(0.0)) == frozenset()
    interest.note("ada", FULL, Instant(0.0), version=5)
    assert interest.views("ada", Instant(1.0)) == FULL
    assert interest.views("bob", Instant(1.0)) == frozenset()


def test_a_watch_ends_by_itself_and_a_view_by_itself() -> None:
    """An edge that dies says no goodbye."""
    interest = Interest()
    interest.note("ada", BOTH, Instant(0.0), version=5)
    interest.note("ada", FULL, Instant(10.0), version=5)
    assert interest.views("ada", Instant(LEASE_SECONDS - 0.1)) == BOTH
    assert interest.views("ada", Instant(LEASE_SECONDS)) == FULL
    assert interest.views("ada", Instant(LEASE_SECONDS + 10.0)) == frozenset()
    assert len(interest) == 0


def test_those_who_lapsed_are_let_go_without_being_asked_for() -> None:
    """A user whose jobs have ended changes never again, and would be kept for ever."""
    interest = Interest()
    interest.note("ada", FULL, Instant(0.0), version=5)
    interest.forget_lapsed(Instant(LEASE_SECONDS + 1))
    assert len(interest) == 0


def test_each_flush_names_the_one_before_it() -> None:
    """By that an edge knows that it has missed one."""
    interest = Interest()
    interest.note("ada", FULL, Instant(0.0), version=5)
    assert [interest.told("ada", version) for version in (8, 9)] == [5, 8]


def test_an_edge_that_has_missed_the_last_flush_is_behind() -> None:
    """After the last change of a job no other comes, by which the gap would show."""
    interest = Interest()
    assert interest.is_behind("ada", 99)
    interest.note("ada", FULL, Instant(0.0), version=5)
    interest.told("ada", 8)
    assert interest.is_behind("ada", 5)
    assert not interest.is_behind("ada", 8)
