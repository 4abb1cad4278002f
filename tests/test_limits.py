"""How much one user, one address and all together may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.api import limits
from progress_service.api.limits import Addresses, CommandLimit, StreamLimits
from progress_service.api.problems import Problem

LIMITS = StreamLimits(per_user_max=3, per_address_max=5, total_max=7)


@pytest.mark.parametrize(
    ("counts", "status", "said"),
    [
        ((2, 4, 6), None, ""),
        ((3, 0, 3), 429, "You have 3 streams open"),
        ((0, 5, 5), 429, "Your address has 5 streams open"),
        ((0, 0, 7), 503, "The service has 7 streams open"),
    ],
)
def test_one_stream_more_is_refused_at_the_limit(
    counts: tuple[int, int, int], status: int | None, said: str
) -> None:
    """Whoever is refused is told whose limit it is, and when to come again."""
    of_user, of_address, total = counts
    if status is None:
        LIMITS.require_room(of_user=of_user, of_address=of_address, total=total)
        return
    with pytest.raises(Problem) as caught:
        LIMITS.require_room(of_user=of_user, of_address=of_address, total=total)
    assert caught.value.status == status
    assert said in caught.value.detail
    assert caught.value.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::1", 1), "2001:db8:1:2::/64"),
        (("10.1.2.3", 1), None),
        (("::ffff:10.1.2.3", 1), None),
        (("::1", 1), None),
        (("testclient", 1), None),
        (None, None),
    ],
)
def test_a_stream_counts_for_its_network_but_not_for_a_proxy(
    client: tuple[str, int] | None, address: str | None
) -> None:
    """One customer has 2^64 addresses of IPv6, and behind one proxy may be everybody."""
    assert Addresses(["10.0.0.0/8", "::1"]).of({"client": client}) == address


def test_an_address_is_forgotten_with_its_last_stream() -> None:
    """Else a year of visitors stays in memory."""
    addresses = Addresses([])
    for _ in range(2):
        addresses.enter("192.0.2.7")
    addresses.leave("192.0.2.7")
    assert addresses.streams("192.0.2.7") == 1
    addresses.leave("192.0.2.7")
    addresses.enter(None)
    addresses.leave(None)
    assert addresses.streams("192.0.2.7") == addresses.streams(None) == 0
    assert vars(addresses)["_streams"] == {}


def refused_for(limit: CommandLimit, user_id: str, now: float) -> str | None:
    """The seconds to wait; None if the command is taken."""
    try:
        limit.take(user_id, now)
    except Problem as problem:
        return problem.headers["Retry-After"]
    return None


def test_a_minutes_commands_may_come_at_once_and_then_one_by_one() -> None:
    """A person clicks in bursts; a program that runs wild is stopped, and is told for how long."""
    limit = CommandLimit(60)
    assert [refused_for(limit, "ada", 1_000.0) for _ in range(61)] == [None] * 60 + ["1"]
    assert refused_for(limit, "grace", 1_000.0) is None
    assert refused_for(limit, "ada", 1_001.0) is None
    assert refused_for(limit, "ada", 1_001.5) == "1"
    assert [refused_for(limit, "ada", 1_100.0) for _ in range(61)] == [None] * 60 + ["1"]


@given(
    per_minute_max=st.integers(1, 300),
    gaps=st.lists(st.floats(0, 10, allow_nan=False), max_size=200),
)
def test_no_minute_has_more_than_twice_the_limit_and_refusals_cost_nothing(
    per_minute_max: int, gaps: list[float]
) -> None:
    """A burst and the steady rate together are the most that the database can be asked."""
    limit = CommandLimit(per_minute_max)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        if refused_for(limit, "ada", now) is None:
            taken.append(now)
    for start in taken:
        assert sum(start <= at < start + 60 for at in taken) <= 2 * per_minute_max
    assert refused_for(limit, "ada", now + 60 / per_minute_max + 1e-6) is None


def test_users_who_have_been_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is of those who command now."""
    monkeypatch.setattr(limits, "USERS_REMEMBERED_MAX", 100)
    limit = CommandLimit(60)
    for number in range(1_000):
        limit.take(f"user {number}", float(number))
    assert len(vars(limit)["_busy_until"]) <= 101
