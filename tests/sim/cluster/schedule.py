"""The steps of a cluster's schedule: those around one process, and the faults of a cluster."""

from collections.abc import Callable

from progress_service.core.model import Status
from tests.sim.cluster.world import EDGES, NAMES, RELAYS, ClusterWorld
from tests.sim.environment import Setup, Step
from tests.sim.schedule import (
    ALWAYS,
    HASTY,
    MIXED,
    OTHERS_MAX,
    STEPS_MAX,
    STEPS_MIN,
    Chance,
    Kind,
    Schedule,
)

LINGER_SECONDS = 60.0
"""Longer than any outage here: so every end must be shown."""
KINDS = ("flush", "answer", "feed", "snapshot", "watch")
AWAY = (0.25, 1.0, 3.0, 6.0)

CLUSTER: tuple[Kind, ...] = (
    (3, ClusterWorld.kill, lambda c: (c.randrange(len(NAMES)), c.choice(AWAY))),
    (4, ClusterWorld.freeze, lambda c: (c.randrange(len(NAMES)), c.choice(AWAY))),
    (2, ClusterWorld.split_lock, lambda _: ()),
    (2, ClusterWorld.restart_nats, lambda c: (c.choice(AWAY),)),
    (3, ClusterWorld.cut_off, lambda c: (c.randrange(len(NAMES)), c.choice(AWAY))),
    (3, ClusterWorld.slow_link, lambda c: (c.randrange(len(NAMES)), c.choice((0.0, 1 / 64, 0.25, 1.5)))),
    (6, ClusterWorld.lose, lambda c: (c.randrange(len(NAMES)), c.choice(KINDS), c.choice((1, 1, 2)))),
    (
        6,
        ClusterWorld.detour,
        lambda c: (RELAYS + c.randrange(EDGES), c.choice(KINDS[:3]), c.choice((1 / 64, 0.25, 2.0))),
    ),
    (3, ClusterWorld.lag_feed, lambda c: (c.randrange(RELAYS), c.choice((0.0, 1 / 64, 0.25, 0.5)))),
)
SOMETIMES: tuple[Kind, ...] = (
    (4, ClusterWorld.work_steadily, lambda c: (c.job(), c.choice((4, 8)), c.choice((1 / 32, 0.25, 1.0)))),
    (2, ClusterWorld.give_away, lambda c: (c.job(), c.user())),
    (3, ClusterWorld.delete, lambda c: (c.job(),)),
    (2, ClusterWorld.burst, lambda c: (c.job(), c.choice((2, 10)))),
    (2, ClusterWorld.delay_answers, lambda c: (c.choice((0.0, 1 / 64, 0.25)),)),
    (1, ClusterWorld.set_clock_back, lambda _: (0.5,)),
    (1, ClusterWorld.set_terms_back, lambda c: (c.choice((2.0, 3_600.0)),)),
    (2, ClusterWorld.cut, lambda _: ()),
    (1, ClusterWorld.crash, lambda c: (c.choice((0.5, 8.0)),)),
    (4, ClusterWorld.reload, lambda c: (c.browser(),)),
    (2, ClusterWorld.close, lambda c: (c.browser(),)),
    (3, ClusterWorld.stall, lambda c: (c.browser(), c.choice((0.25, 2.0)))),
    (2, ClusterWorld.vanish, lambda c: (c.browser(), c.choice((0.0, 0.25)))),
    (1, ClusterWorld.storm, lambda _: ()),
)

STORIES: tuple[frozenset[Callable[..., None]], ...] = (
    frozenset(),
    frozenset({ClusterWorld.slow_link, ClusterWorld.split_lock, ClusterWorld.reload, ClusterWorld.burst}),
    frozenset({ClusterWorld.freeze, ClusterWorld.work_steadily, ClusterWorld.reload}),
    frozenset({ClusterWorld.detour, ClusterWorld.lose, ClusterWorld.reload, ClusterWorld.burst}),
    frozenset({ClusterWorld.lag_feed, ClusterWorld.kill, ClusterWorld.work_steadily}),
)
"""What is known to be dangerous together. To this come others by chance."""


def drawn(seed: int) -> Schedule:
    """The schedule of that seed."""
    chance = Chance(seed)
    pauses = chance.choice((HASTY, MIXED, MIXED))
    story = chance.choice(STORIES)
    kinds = [*ALWAYS, *(kind for kind in (*CLUSTER, *SOMETIMES) if kind[1] in story)]
    kinds += chance.sample(CLUSTER, chance.randint(0 if story else 1, 3))
    kinds += chance.sample(SOMETIMES, chance.randint(0, OTHERS_MAX))
    weights = [weight for weight, _, _ in kinds]
    steps: list[Step] = [(0.0, ClusterWorld.open, (browser,)) for browser in range(chance.browsers)]
    steps.append((1.0, ClusterWorld.insert, (0, 0, Status.RUNNING)))
    for _, action, arguments in chance.choices(kinds, weights, k=chance.randint(STEPS_MIN, STEPS_MAX)):
        steps.append((chance.choice(pauses), action, arguments(chance)))
    return Schedule(Setup(seed, LINGER_SECONDS), tuple(steps), ClusterWorld, "--cluster ")
