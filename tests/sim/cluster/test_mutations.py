"""Mutation tests of the cluster's simulation: each defect that is planted violates an invariant."""

from collections.abc import Collection, Sequence
from math import inf
from typing import Any

import pytest

from progress_service.cluster import edge
from progress_service.cluster.following import Begin, Following, Step
from progress_service.cluster.leader_election import Leadership
from progress_service.cluster.outbox import Outbox
from progress_service.feeds.feed import Feed
from progress_service.wire import relayed as wire
from progress_service.wire.frames import View
from progress_service.wire.relayed import Relayed
from tests.sim.cluster.regressions import REGRESSIONS
from tests.sim.cluster.schedule import LINGER_SECONDS, drawn
from tests.sim.cluster.world import ClusterWorld
from tests.sim.environment import Setup
from tests.sim.schedule import Schedule
from tests.sim.simulation import failures, violation_in

pytestmark = pytest.mark.timeout(600)

SCHEDULES_MAX = 500
GAP = 370
"""A schedule shortly before one that finds a defect which few find."""
OF_PAGES = {"truth", "no way back", "sums", "farewell", "convergence"}
"""A defect of a cluster shows on the pages, one way or another."""


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a defective part in the place of a sound one."""
    return monkeypatch.setattr


def violated(first: int = 0) -> str:
    """The first invariant that does not hold, in the schedules from the *first* on."""
    failure = next(failures(range(first, first + SCHEDULES_MAX), drawn), None)
    assert failure is not None, f"{SCHEDULES_MAX} schedules found nothing"
    print(f"found in schedule {failure.schedule.setup.seed}: {failure.violation}")
    return failure.violation.invariant


def violated_again(name: str) -> str:
    """The invariant that does not hold in a regression, whichever relay leads first."""
    violations = (
        violation_in(Schedule(Setup(seed, LINGER_SECONDS), REGRESSIONS[name], ClusterWorld))
        for seed in range(4)
    )
    violation = next(filter(None, violations), None)
    assert violation is not None, "it is not found any more"
    return violation.invariant


def test_an_edge_sees_no_gap(plant: Any) -> None:
    """The state in a lost message is not shown until the job changes again."""
    hear = Following.hear

    def hear_on(self: Following, flush: Relayed, wanted: Collection[View]) -> Sequence[Step]:
        return hear(self, Relayed(flush.term, 0, flush.version, flush.frames), wanted)

    plant(Following, "hear", hear_on)
    assert violated(first=GAP) in OF_PAGES


def test_an_edge_never_reports_its_version(plant: Any) -> None:
    """The loss of the last flush of all is never noticed."""
    plant(edge, "RENEW_SECONDS", inf)
    assert violated() in OF_PAGES


def test_an_edge_requests_no_snapshots_in_a_new_term(plant: Any) -> None:
    """Changes without a leader are not shown."""
    take_beat = edge.Edge._take_beat

    def take_unmoved(self: edge.Edge, message: Any) -> None:
        term = wire.beat(message.data).term
        self._fence.term = max(self._fence.term, term)
        take_beat(self, message)

    plant(edge.Edge, "_take_beat", take_unmoved)
    plant(edge, "RENEW_SECONDS", inf)
    assert violated() in OF_PAGES


def test_a_leader_continues_its_term_after_a_doubt(plant: Any) -> None:
    """Changes while it was not sure to lead were sent to no edge."""
    later = Leadership._later_term

    def later_if_first(self: Leadership) -> int:
        if self.term:
            plant(self, "_begin", lambda: None)
            return self.term
        return later(self)

    plant(Leadership, "_later_term", later_if_first)
    found = violated_again("what changes while the leader's connection is cut is sent in its next term")
    assert found in OF_PAGES


def test_a_relay_leads_before_it_has_caught_up(plant: Any) -> None:
    """Bars step back whenever the next leader receives notifications a little later."""

    async def at_once(*_: object) -> None:
        pass

    plant(Feed, "catch_up", at_once)
    found = violated_again("a relay whose feed is behind does not lead before it has caught up")
    assert found in OF_PAGES


def test_a_relay_goes_on_after_its_outbox_overflowed(plant: Any) -> None:
    """All that waited is gone, and no edge requests it."""
    put = Outbox.put

    def put_on(self: Outbox, subject: str, message: bytes) -> bool:
        put(self, subject, message)
        return True

    plant(Outbox, "put", put_on)
    plant(edge, "RENEW_SECONDS", inf)
    assert violated() in OF_PAGES


def test_an_edge_keeps_an_older_row(plant: Any) -> None:
    """Streams that have begun are not sent the snapshot that replaces what they show."""
    answer = Following.answer

    def answer_waiting(self: Following, snapshot: Relayed, wanted: Collection[View]) -> Sequence[Step]:
        steps = answer(self, snapshot, wanted)
        return [Begin(step.frames, is_for_all=False) if isinstance(step, Begin) else step for step in steps]

    plant(Following, "answer", answer_waiting)
    assert violated() in OF_PAGES
