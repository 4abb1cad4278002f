"""Schedules of a cluster in which an invariant once did not hold."""

from progress_service.core.model import Status
from tests.sim.cluster.world import ClusterWorld
from tests.sim.environment import Step

RUNNING = Status.RUNNING

REGRESSIONS: dict[str, tuple[Step, ...]] = {
    "what changes while a leader is in doubt is sent when it is sure again": (
        (0.0, ClusterWorld.open, (0,)),
        (0.0, ClusterWorld.open, (1,)),
        (0.0, ClusterWorld.open, (4,)),
        (0.0, ClusterWorld.open, (5,)),
        (1.0, ClusterWorld.insert, (0, 0, RUNNING)),
        (1 / 64, ClusterWorld.insert, (0, 0, RUNNING)),
        (1 / 64, ClusterWorld.work, (0,)),
        (1 / 64, ClusterWorld.insert, (0, 0, Status.PENDING)),
        (0.125, ClusterWorld.work, (0,)),
        (0.0, ClusterWorld.freeze, (1, 1.0)),
    ),
    "a relay whose feed is behind does not lead before it has caught up": (
        (1.0, ClusterWorld.insert, (0, 0, Status.PENDING)),
        (0.25, ClusterWorld.open, (0,)),
        (0.125, ClusterWorld.cut, ()),
        (0.0, ClusterWorld.lag_feed, (1, 0.25)),
        (0.0, ClusterWorld.lag_feed, (0, 0.0)),
        (1.0, ClusterWorld.work, (0,)),
        (0.125, ClusterWorld.kill, (0, 3.0)),
    ),
    "of two relays that both believe to lead one gives up": (
        (2.0, ClusterWorld.slow_link, (0, 1.5)),
        (0.0, ClusterWorld.split_lock, ()),
        (0.125, ClusterWorld.set_terms_back, (3_600.0,)),
        (2.0, ClusterWorld.split_lock, ()),
        (0.0, ClusterWorld.cut_off, (0, 3.0)),
        (0.25, ClusterWorld.split_lock, ()),
    ),
    "what changes while the leader's connection is cut is sent in its next term": (
        (0.0, ClusterWorld.open, (0,)),
        (1.0, ClusterWorld.insert, (0, 0, RUNNING)),
        (0.0, ClusterWorld.set_terms_back, (3_600.0,)),
        (0.125, ClusterWorld.cut, ()),
        (0.0, ClusterWorld.work_steadily, (0, 8, 1 / 32)),
        (1 / 64, ClusterWorld.detour, (3, "feed", 1 / 64)),
    ),
}
