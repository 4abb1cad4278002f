"""The tests of the cluster's simulation: what is broken on purpose must be noticed."""

from collections.abc import Collection, Sequence
from math import inf
from typing import Any

import pytest

from progress_service.cluster import edge
from progress_service.cluster.following import Following, Step
from progress_service.cluster.outbox import Outbox
from progress_service.feeds import leader
from progress_service.feeds.leader import Leadership
from progress_service.wire import relayed as wire
from progress_service.wire.frames import View
from progress_service.wire.relayed import Relayed
from tests.sim.cluster.found import FOUND
from tests.sim.cluster.schedule import LINGER_SECONDS, drawn
from tests.sim.cluster.world import ClusterWorld
from tests.sim.schedule import Schedule
from tests.sim.simulation import failures, fault_in

pytestmark = pytest.mark.timeout(600)

SCHEDULES_MAX = 500
GAP, DOUBT = 370, 390
"""Schedules shortly before one that finds a defect which few find."""
OF_PICTURES = {"truth", "no way back", "sums", "farewell", "convergence"}
"""A defect of a cluster shows in what pages are told, one way or another."""


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a broken part in the place of a sound one."""
    return monkeypatch.setattr


def law_broken(first: int = 0) -> str:
    """The law that the simulation says was broken first, from the *first* schedule on."""
    failure = next(failures(range(first, first + SCHEDULES_MAX), drawn), None)
    assert failure is not None, f"{SCHEDULES_MAX} schedules found nothing"
    return failure.fault.law


def law_broken_again(name: str) -> str:
    """The law that a schedule breaks which once broke it, whoever leads first."""
    faults = (fault_in(Schedule(seed, LINGER_SECONDS, FOUND[name], ClusterWorld)) for seed in range(4))
    fault = next(filter(None, faults), None)
    assert fault is not None, "it is not found any more"
    return fault.law


def test_an_edge_that_sees_no_gap(plant: Any) -> None:
    """What a lost message said would stay unsaid until the job changes again."""
    hear = Following.hear

    def hear_on(self: Following, flush: Relayed, wanted: Collection[View]) -> Sequence[Step]:
        return hear(self, Relayed(flush.term, 0, flush.version, flush.frames), wanted)

    plant(Following, "hear", hear_on)
    assert law_broken(first=GAP) in OF_PICTURES


def test_an_edge_that_never_says_up_to_where_it_was_told(plant: Any) -> None:
    """That the last flush of all was lost would never show."""
    plant(edge, "RENEW_SECONDS", inf)
    assert law_broken() in OF_PICTURES


def test_an_edge_that_asks_nobody_anew_in_a_new_term(plant: Any) -> None:
    """What changed while nobody led would not be told."""
    take_beat = edge.Edge._take_beat

    def take_unmoved(self: edge.Edge, message: Any) -> None:
        term = wire.beat(message.data).term
        self._fence.term = max(self._fence.term, term)
        take_beat(self, message)

    plant(edge.Edge, "_take_beat", take_unmoved)
    plant(edge, "RENEW_SECONDS", inf)
    assert law_broken() in OF_PICTURES


def test_a_leader_that_goes_on_in_its_term_after_a_doubt(plant: Any) -> None:
    """What changed while it was not sure to lead was told to nobody."""
    later = Leadership._later_term

    def later_if_first(self: Leadership) -> int:
        if self.term:
            plant(self, "_begin", lambda: None)
            return self.term
        return later(self)

    plant(Leadership, "_later_term", later_if_first)
    assert law_broken(first=DOUBT) in OF_PICTURES


def test_a_relay_that_leads_before_it_knows_what_the_one_before_it_knew(plant: Any) -> None:
    """Bars would step back whenever a relay is succeeded by one that hears a little later."""

    async def at_once(*_: object) -> None:
        pass

    plant(leader, "until_abreast", at_once)
    found = law_broken_again("a relay whose feed is behind does not lead before it has caught up")
    assert found in OF_PICTURES


def test_a_relay_that_goes_on_after_its_outbox_ran_over(plant: Any) -> None:
    """All that waited is gone, and nobody would ask for it."""
    put = Outbox.put

    def put_on(self: Outbox, subject: str, message: bytes) -> bool:
        put(self, subject, message)
        return True

    plant(Outbox, "put", put_on)
    plant(edge, "RENEW_SECONDS", inf)
    assert law_broken() in OF_PICTURES
