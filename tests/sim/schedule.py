"""What happens in a schedule: a list of steps, drawn from a seed.

Each schedule leaves most kinds of steps out, and others each time: where everything may happen, what takes
three things in a row never comes about (Groce et al., "Swarm testing", ISSTA 2012). Pauses are those that
matter: none, shorter and longer than the interval of a flush, and to the dot of a deadline.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from progress_service.core.model import Status
from tests.sim.database import Malformation
from tests.sim.environment import BROWSERS, FLUSH_SECONDS, JOBS, USERS, Environment, Forgery, Setup, Step
from tests.sim.world import World

STEPS_MIN, STEPS_MAX = 6, 32
LINGER_SECONDS = (5.0, 5.0, 1.0)
FEEDS = (*("notify",) * 7, "poll")
RECONCILE_SECONDS = (inf, inf, inf, 4.0)
HASTY = (0.0, 0.0, 1 / 64, 1 / 64, FLUSH_SECONDS)
MIXED = (0.0, 0.0, 1 / 64, FLUSH_SECONDS, 0.25, 1.0, 2.0)
SLOW = (0.0, 0.0, FLUSH_SECONDS, 1.0, 2.0, 12.0)
STATUSES = tuple(Status)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens, step by step, in which world."""

    setup: Setup
    steps: tuple[Step, ...]
    world: type[Environment] = World
    option: str = ""

    def __str__(self) -> str:
        """For people: a line for each step."""
        lines = [str(self.setup)]
        for pause_seconds, action, arguments in self.steps:
            words = ", ".join(str(argument) for argument in arguments)
            lines.append(f"  {pause_seconds:+9.4f} s  {action.__name__}({words})")
        return "\n".join(lines)


class Chance(random.Random):
    """Chance, with a cast of its own for each schedule: among few, steps meet."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._jobs = self.randint(1, len(JOBS))
        self._users = self.randint(1, len(USERS))
        self.browsers = self.randint(1, len(BROWSERS))

    def job(self) -> int:
        """One of the jobs."""
        return self.randrange(self._jobs)

    def user(self) -> int:
        """One of the users."""
        return self.randrange(self._users)

    def browser(self) -> int:
        """One of the browsers."""
        return self.randrange(self.browsers)


Kind = tuple[int, Callable[..., None], Callable[[Chance], tuple[object, ...]]]
"""How often, what, and with which arguments."""

ALWAYS: tuple[Kind, ...] = (
    (4, Environment.insert, lambda c: (c.job(), c.user(), c.choice((Status.PENDING, Status.RUNNING)))),
    (4, Environment.work, lambda c: (c.job(),)),
    (4, Environment.move, lambda c: (c.job(), c.choice(STATUSES))),
    (3, Environment.open, lambda c: (c.browser(),)),
)
SOMETIMES: tuple[Kind, ...] = (
    (4, World.work_steadily, lambda c: (c.job(), c.choice((4, 8)), c.choice((1 / 32, 1.0, 1.5)))),
    (2, World.rename, lambda c: (c.job(), c.choice("xyz"))),
    (1, World.send_heartbeat, lambda c: (c.job(),)),
    (2, World.give_away, lambda c: (c.job(), c.user())),
    (4, World.delete, lambda c: (c.job(),)),
    (3, World.replace, lambda c: (c.job(), c.user(), c.choice((Status.PENDING, Status.RUNNING)))),
    (1, World.truncate, lambda _: ()),
    (2, World.move_all, lambda c: (c.choice(STATUSES),)),
    (
        3,
        World.move_in_long_transaction,
        lambda c: (c.job(), c.choice(STATUSES), c.choice((0.25, 12.0)), c.random() < 0.8),
    ),
    (2, World.burst, lambda c: (c.job(), c.choice((2, 10)))),
    (3, World.malform, lambda c: (c.job(), c.choice(tuple(Malformation)))),
    (2, World.repair, lambda c: (c.job(),)),
    (
        3,
        World.forge,
        lambda c: (c.choice(tuple(Forgery)), c.choice((1, 2, 16)), c.choice((0.0, 1 / 32, 0.25))),
    ),
    (2, World.flood, lambda c: (c.choice((16, 32)),)),
    (2, World.go_back, lambda c: (c.choice((1, 2, 4)),)),
    (2, World.delay_channel, lambda c: (c.choice((0.0, 1 / 64, 0.25, 1.5)),)),
    (2, World.delay_answers, lambda c: (c.choice((0.0, 1 / 64, 0.25, 0.75, 1.5)),)),
    (1, World.set_clock_back, lambda c: (c.choice((1 / 64, 0.5)),)),
    (2, World.cut, lambda _: ()),
    (1, World.swallow, lambda _: ()),
    (1, World.forget_listen, lambda _: ()),
    (2, World.crash, lambda c: (c.choice((0.5, 8.0, 20.0)),)),
    (4, World.open_with_short_token, lambda c: (c.browser(), c.choice((0.5, 4.0, 31.0)), c.random() < 0.5)),
    (4, World.reload, lambda c: (c.browser(),)),
    (2, World.close, lambda c: (c.browser(),)),
    (4, World.stall, lambda c: (c.browser(), c.choice((0.25, 2.0, 7.0)))),
    (3, World.slow_down, lambda c: (c.browser(), c.choice((1 / 64, 0.25)))),
    (2, World.vanish, lambda c: (c.browser(), c.choice((0.0, 0.25, 7.0)))),
    (1, World.storm, lambda _: ()),
)
STORIES: tuple[tuple[tuple[float, ...], frozenset[Callable[..., None]]], ...] = (
    (HASTY, frozenset()),
    (MIXED, frozenset()),
    (SLOW, frozenset({World.work_steadily, World.crash})),
    (HASTY, frozenset({World.work_steadily, World.reload, World.delete})),
    (MIXED, frozenset({World.open_with_short_token, World.slow_down, World.stall})),
    (MIXED, frozenset({World.delay_answers, World.burst, World.forge, World.truncate})),
    (MIXED, frozenset({World.rename, World.flood, World.delay_answers, World.work_steadily})),
    (MIXED, frozenset({World.delay_answers, World.malform, World.repair, World.burst})),
    (MIXED, frozenset({World.work_steadily, World.delay_answers, World.cut})),
    (MIXED, frozenset({World.go_back, World.replace, World.delay_answers})),
)
"""Pauses, and what is known to be dangerous together. To this come others by chance."""
OTHERS_MAX = 8


def drawn(seed: int) -> Schedule:
    """The schedule of that seed."""
    chance = Chance(seed)
    pauses, story = chance.choice(STORIES)
    kinds = [*ALWAYS, *(kind for kind in SOMETIMES if kind[1] in story)]
    kinds += chance.sample(SOMETIMES, chance.randint(0, OTHERS_MAX))
    weights = [weight for weight, _, _ in kinds]
    steps: list[Step] = [(0.0, World.open, (browser,)) for browser in range(chance.browsers)]
    for _, action, arguments in chance.choices(kinds, weights, k=chance.randint(STEPS_MIN, STEPS_MAX)):
        steps.append((chance.choice(pauses), action, arguments(chance)))
    setup = Setup(
        seed,
        linger_seconds=chance.choice(LINGER_SECONDS),
        feed=chance.choice(FEEDS),
        reconcile_seconds=1.0 if World.flood in story else chance.choice(RECONCILE_SECONDS),
        is_validated=chance.random() < 2 / 3,
    )
    return Schedule(setup, tuple(steps))
