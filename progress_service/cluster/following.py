"""How an edge follows a relay: whom it believes, and what its streams are told. Pure: no clock, no NATS.

Messages may be lost, and those of different subjects may overtake each other. So each flush says which flush
of the same user came before it. Where that one is missing, the user's snapshot is asked for, and what comes
meanwhile is kept, for it may be newer than the snapshot.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from progress_service.core.model import Instant
from progress_service.wire import frames
from progress_service.wire.frames import View
from progress_service.wire.relayed import Relayed

KEPT_MAX = 64
"""Flushes of a user that are kept while its snapshot is on its way. What falls out is asked for again."""

SILENT_SECONDS = 4.0
"""A term whose leader has been silent for so long no longer keeps out a lower one."""


class Fence:
    """Keeps out a relay that believes to lead, but has a successor.

    A lower term than the highest is not believed, unless that one has fallen silent: a database that was set
    back may give out lower terms, and somebody has to lead.
    """

    def __init__(self) -> None:
        self.term = 0
        self._heard_at: float = -inf

    def admits(self, term: int, now: Instant) -> bool:
        """Whether what comes from the leader of *term* is to be believed."""
        if term < self.term and now - self._heard_at <= SILENT_SECONDS:
            return False
        self.term = term
        self._heard_at = now
        return True


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the relay for the user's snapshot."""


@dataclass(frozen=True, slots=True)
class Push:
    """Tell the streams that have begun."""

    frames: Mapping[View, bytes]


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell a snapshot: to all streams of the user, or to those only that wait for one."""

    frames: Mapping[View, bytes]
    is_for_all: bool


Step = Ask | Push | Begin


class Following:
    """One user, as an edge follows it.

    All streams that have begun were told everything up to `version` of `term`, and each flush once.
    `is_asking` while a snapshot is on its way, or is to be asked for.
    """

    __slots__ = ("_kept", "is_asking", "term", "version")

    def __init__(self) -> None:
        self.term = 0
        self.version: int | None = None
        self.is_asking = False
        self._kept: list[Relayed] = []

    def ask(self) -> Sequence[Step]:
        """A stream waits for its snapshot, or something was missed."""
        if self.is_asking:
            return ()
        self.is_asking = True
        self._kept.clear()
        return (Ask(),)

    def lose_answer(self) -> None:
        """What is on its way will not come."""
        self.is_asking = False
        self._kept.clear()

    def hear(self, flush: Relayed, wanted: Collection[View]) -> Sequence[Step]:
        """A flush has come, of a term that is to be believed; *wanted* are the views that have streams."""
        if self.is_asking:
            self._keep(flush)
        if flush.term != self.term or self.version is None:
            return self._ask_and_keep(flush)
        if flush.version <= self.version:
            return ()
        if flush.previous > self.version or not flush.frames.keys() >= set(wanted):
            return self._ask_and_keep(flush)
        self.version = flush.version
        return (Push(flush.frames),)

    def answer(self, snapshot: Relayed, wanted: Collection[View]) -> Sequence[Step]:
        """The snapshot has come that was asked for, of a term that is to be believed."""
        if not self.is_asking:
            return ()
        self.is_asking = False
        if not snapshot.frames.keys() >= set(wanted):
            # Somebody has come meanwhile, with another view.
            return self.ask()
        newer = [
            flush for flush in self._kept if flush.term == snapshot.term and flush.version > snapshot.version
        ]
        self._kept.clear()
        if snapshot.term != self.term or self.version is None or snapshot.version > self.version:
            self.term, self.version = snapshot.term, snapshot.version
            steps: list[Step] = [Begin(snapshot.frames, is_for_all=True)]
            for flush in newer:
                steps += self.hear(flush, wanted)
            return steps
        # Those that have begun are further than the snapshot. Whoever begins now gets what lies between.
        between = [flush for flush in newer if flush.version <= self.version]
        if not _is_whole(between, snapshot.version, self.version, wanted):
            return self.ask()
        return (Begin(_joined([snapshot, *between], wanted), is_for_all=False), *self._left(newer, wanted))

    def _left(self, newer: Sequence[Relayed], wanted: Collection[View]) -> Sequence[Step]:
        """Deal with what could not be told before, since something before it was missing."""
        assert self.version is not None
        later = [flush for flush in newer if flush.version > self.version]
        return [step for flush in later for step in self.hear(flush, wanted)]

    def _ask_and_keep(self, flush: Relayed) -> Sequence[Step]:
        steps = self.ask()
        if steps:
            self._keep(flush)
        return steps

    def _keep(self, flush: Relayed) -> None:
        self._kept.append(flush)
        del self._kept[:-KEPT_MAX]


def _is_whole(flushes: Sequence[Relayed], start: int, end: int, wanted: Collection[View]) -> bool:
    """Whether *flushes* lead from version *start* to version *end*, for all views."""
    reached = start
    for flush in flushes:
        if flush.previous > reached or not flush.frames.keys() >= set(wanted):
            return False
        reached = flush.version
    return reached >= end


def _joined(told: Sequence[Relayed], wanted: Collection[View]) -> Mapping[View, bytes]:
    return {view: frames.flush(each.frames[view] for each in told) for view in wanted}
