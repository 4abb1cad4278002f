"""What an edge tells its streams, whatever is lost or comes late between it and the relay."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.cluster.following import (
    KEPT_MAX,
    SILENT_SECONDS,
    Ask,
    Begin,
    Fence,
    Following,
    Push,
    Step,
)
from progress_service.core.model import Instant
from progress_service.wire.frames import View
from progress_service.wire.relayed import Relayed

FULL = frozenset({View.FULL})
BOTH = frozenset(View)
NOW = Instant(0.0)


def told(version: int, previous: int = 0, term: int = 1, views: frozenset[View] = FULL) -> Relayed:
    """What a relay tells; its text is its version."""
    return Relayed(term, previous, version, dict.fromkeys(views, b"%d;" % version))


def followed(version: int) -> Following:
    """A user whose streams were told everything up to *version* of term 1."""
    following = Following()
    following.ask()
    following.answer(told(version), FULL)
    return following


def test_a_stream_begins_with_the_snapshot_and_goes_on_with_the_flushes() -> None:
    """The straight way, on which nothing is told twice."""
    following = Following()
    assert following.ask() == (Ask(),)
    assert following.answer(told(3), FULL) == [Begin({View.FULL: b"3;"}, is_for_all=True)]
    assert following.hear(told(7, previous=3), FULL) == (Push({View.FULL: b"7;"}),)
    assert following.hear(told(9, previous=7), FULL) == (Push({View.FULL: b"9;"}),)


def test_one_question_is_enough_for_all_who_wait() -> None:
    """A thousand tabs that reconnect at once must not ask a thousand times."""
    following = Following()
    assert following.ask() == (Ask(),)
    assert following.ask() == ()


def test_a_flush_that_is_missing_is_made_up_for_by_a_snapshot() -> None:
    """NATS promises at most one delivery, so a terminal state may be what was lost."""
    following = followed(3)
    assert following.hear(told(9, previous=7), FULL) == (Ask(),)
    assert following.answer(told(9), FULL) == [Begin({View.FULL: b"9;"}, is_for_all=True)]


def test_what_comes_while_the_snapshot_is_on_its_way_is_kept_if_it_is_newer() -> None:
    """The snapshot and the flushes come by different subjects, and may overtake each other."""
    following = Following()
    following.ask()
    assert following.hear(told(4, previous=3), FULL) == ()
    assert following.hear(told(5, previous=4), FULL) == ()
    assert following.answer(told(4), FULL) == [
        Begin({View.FULL: b"4;"}, is_for_all=True),
        Push({View.FULL: b"5;"}),
    ]


def test_whoever_comes_later_gets_what_lies_between_and_the_others_nothing_twice() -> None:
    """A second tab must not throw the first one back, nor begin behind it and stay there."""
    following = followed(3)
    following.ask()
    assert following.hear(told(4, previous=3), FULL) == (Push({View.FULL: b"4;"}),)
    assert following.answer(told(3), FULL) == (Begin({View.FULL: b"3;4;"}, is_for_all=False),)
    assert following.version == 4


def test_a_snapshot_that_overtook_flushes_is_told_to_all() -> None:
    """Those flushes are dropped when they come, so the streams that have begun would miss them."""
    following = followed(3)
    following.ask()
    assert following.answer(told(5), FULL) == [Begin({View.FULL: b"5;"}, is_for_all=True)]
    assert following.hear(told(4, previous=3), FULL) == ()
    assert following.hear(told(5, previous=4), FULL) == ()


def test_a_new_term_is_begun_with_a_snapshot() -> None:
    """Another relay numbers anew, and may have seen what the one before it did not tell."""
    following = followed(90)
    assert following.hear(told(2, previous=1, term=2), FULL) == (Ask(),)
    assert following.answer(told(2, term=2), FULL) == [Begin({View.FULL: b"2;"}, is_for_all=True)]
    assert (following.term, following.version) == (2, 2)


@pytest.mark.parametrize("is_answer", [True, False])
def test_a_view_that_nobody_watched_before_is_asked_for(is_answer: bool) -> None:  # noqa: FBT001
    """A compact bar beside a card would stay empty."""
    following = followed(3)
    if is_answer:
        following.ask()
        assert following.answer(told(3), BOTH) == (Ask(),)
    else:
        assert following.hear(told(4, previous=3), BOTH) == (Ask(),)
    assert following.answer(told(4, views=BOTH), BOTH) == [
        Begin({View.FULL: b"4;", View.COMPACT: b"4;"}, is_for_all=True)
    ]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    """One that was given up may still come."""
    following = followed(3)
    assert following.answer(told(9), FULL) == ()
    assert following.version == 3


def test_what_is_kept_has_a_limit() -> None:
    """A relay that answers nobody but goes on telling must not fill the edge's memory."""
    following = followed(3)
    following.ask()
    for version in range(4, 4 + 2 * KEPT_MAX):
        following.hear(told(version, previous=version - 1), FULL)
    # The snapshot is older than what is still kept, so that it cannot be joined to where the others are.
    assert following.answer(told(3), FULL) == (Ask(),)


@dataclass
class Stream:
    """What one stream of an edge was told, as versions; a snapshot makes up for all before it."""

    seen: list[int] = field(default_factory=list)


class World:
    """A relay, an edge and its streams; messages on their way in two queues, which overtake each other."""

    def __init__(self) -> None:
        self.term, self.version, self.last = 1, 0, 0
        self.flushes: list[Relayed] = []
        self.questions = 0
        self.answers: list[Relayed] = []
        self.fence = Fence()
        self.following = Following()
        self.begun: list[Stream] = []
        self.waiting: list[Stream] = []

    def change(self) -> None:
        """The relay tells a flush."""
        self.version += 1
        self.flushes.append(told(self.version, self.last, self.term))
        self.last = self.version

    def lose(self) -> None:
        """The oldest flush that is on its way never comes."""
        del self.flushes[:1]

    def succeed(self) -> None:
        """Another relay leads, which numbers from some other place."""
        self.term += 1
        self.version = self.last = self.version // 2
        self.change()

    def open(self) -> None:
        """A stream opens."""
        self.waiting.append(Stream())
        self.carry_out(self.following.ask())

    def answer(self) -> None:
        """The relay answers the question."""
        if self.questions:
            self.questions -= 1
            self.answers.append(told(self.version, term=self.term))

    def bring_flush(self) -> None:
        """A flush comes."""
        if self.flushes and self.fence.admits(self.flushes[0].term, NOW):
            self.carry_out(self.following.hear(self.flushes[0], FULL))
        self.lose()

    def bring_answer(self) -> None:
        """An answer comes."""
        if not self.answers:
            return
        answer = self.answers.pop(0)
        if self.fence.admits(answer.term, NOW):
            self.carry_out(self.following.answer(answer, FULL))
        else:
            # The edge asks again, after a moment.
            self.questions += 1

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Do as the edge does."""
        for step in steps:
            match step:
                case Ask():
                    self.questions += 1
                case Push():
                    self.tell(self.begun, step.frames[View.FULL])
                case Begin():
                    beginning = self.waiting + (self.begun if step.is_for_all else [])
                    for stream in beginning:
                        stream.seen.clear()
                    self.tell(beginning, step.frames[View.FULL])
                    self.begun += self.waiting
                    self.waiting = []

    def tell(self, streams: Sequence[Stream], frame: bytes) -> None:
        """Send a frame."""
        for stream in streams:
            stream.seen += [int(text) for text in frame.split(b";") if text]


STEPS = (
    World.change,
    World.change,
    World.lose,
    World.succeed,
    World.open,
    World.answer,
    World.bring_flush,
    World.bring_flush,
    World.bring_answer,
)


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_every_stream_ends_where_the_relay_is_and_never_goes_back(steps: list[object]) -> None:
    """The one law of an edge: lost, late or out of order, nothing is told backwards and the end is right."""
    world = World()
    world.open()
    for step in steps:
        assert callable(step)
        step(world)
        for stream in world.begun:
            assert stream.seen == sorted(set(stream.seen))
    # One more flush comes through, as a renewal of the watch would make up for one that does not.
    world.change()
    for _ in range(1_000):
        if not (world.flushes or world.questions or world.answers):
            break
        world.bring_flush()
        world.answer()
        world.bring_answer()
    assert not world.waiting
    assert all(stream.seen[-1] == world.version for stream in world.begun)


def test_a_relay_that_was_succeeded_is_not_believed() -> None:
    """Two that both believe to lead would have bars jump back and forth."""
    fence = Fence()
    assert fence.admits(7, Instant(0.0))
    assert fence.admits(9, Instant(1.0))
    assert not fence.admits(7, Instant(1.1))
    assert fence.term == 9


def test_a_lower_term_is_believed_once_the_higher_one_is_silent() -> None:
    """After a restore of the database its clock, and with it the terms, may be behind for good."""
    fence = Fence()
    assert fence.admits(9, Instant(0.0))
    assert not fence.admits(7, Instant(SILENT_SECONDS))
    assert fence.admits(7, Instant(SILENT_SECONDS + 0.1))
    assert fence.term == 7
