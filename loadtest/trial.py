"""What programs that break things have in common: who writes, who watches, and what must come of it.

After each fault a pulse of every user is written: the time until each of that user's browsers has seen it is
the time to recover. Every few faults the workers rest; then each browser's picture must become that of the
database, and each must have seen every job of its user end that has ended.
"""

import argparse
import random
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup
from rich.console import Console

from loadtest.access import token
from loadtest.figures import Figure, figure
from loadtest.havoc import Database
from loadtest.ledger import Ledger, StuckError
from loadtest.postgres import connected
from loadtest.report import options, publish
from loadtest.witness import Browser, at_work
from progress_service.jobs.schema import apply_schema, schema_text

# What is committed must survive that processes are killed; the machine itself stays up.
SETTINGS = {"fsync": "off", "max_connections": "200"}
SEEN_SECONDS_MAX = 30.0
FAULTS_BETWEEN_RESTS = 10
BROWSERS_OF_A_USER = 10

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name LIKE 'progress_service%' AND pid <> pg_backend_pid()
"""


@dataclass(kw_only=True)
class Trial:
    """Who writes and who watches while something is broken, and what has come of it so far."""

    database: Database
    ledgers: Sequence[Ledger]
    browsers: Mapping[Ledger, Sequence[Browser]]
    chance: random.Random
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until a browser had seen the pulse after a fault, by fault."""
    violations: list[str] = field(default_factory=list)
    survived: Counter[str] = field(default_factory=Counter)

    @property
    def everyone(self) -> list[Browser]:
        """All browsers."""
        return [browser for browsers in self.browsers.values() for browser in browsers]

    def begin(self, tasks: TaskGroup) -> None:
        """Have all of them watch and write, until cancelled."""
        for browser in self.everyone:
            tasks.start_soon(browser.run)
        for ledger in self.ledgers:
            ledger.go_on()
            tasks.start_soon(ledger.run)


TrialT = TypeVar("TrialT", bound=Trial)
Fault = Callable[[TrialT], Awaitable[None]]
Faults = Mapping[str, tuple[Fault[TrialT], int]]
"""What can be broken, and how often in comparison."""

Staged = Callable[[argparse.Namespace, Path], AbstractAsyncContextManager[TrialT]]
"""Of the options and a folder for files, everything up and running: workers write, and browsers watch."""


def breaking_options(program: str, documentation: str | None) -> argparse.ArgumentParser:
    """The options of a program that breaks things."""
    parser = options(program, documentation)
    parser.add_argument("--faults", type=int, default=100, help="how many; the first are one of each kind")
    parser.add_argument("--browsers", type=int, default=200, help="streams, ten of each user")
    parser.add_argument("--linger", type=float, default=30.0, help="seconds that a finished job stays")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10_000), help="decides what breaks when"
    )
    return parser


def break_and_publish(
    asked: argparse.Namespace,
    staged: Staged[TrialT],
    faults: Faults[TrialT],
    figures: Callable[[TrialT], Sequence[Figure]],
) -> int:
    """Break what was asked for and publish *figures* of it; 1 if anything was lost, mixed up or went back."""
    with tempfile.TemporaryDirectory(prefix=f"{asked.program}-") as folder:
        scene = anyio.run(_tried, staged(asked, Path(folder)), faults, asked.faults)
    publish(f"{sum(scene.survived.values()):,} faults, seed {asked.seed}", figures(scene), asked)
    for violation in scene.violations[:20]:
        print(violation)
    return int(bool(scene.violations))


async def _tried(staged: AbstractAsyncContextManager[TrialT], faults: Faults[TrialT], count: int) -> TrialT:
    """Break what was asked for; what was seen is kept, too, when it is interrupted or a writer is stuck."""
    scene: TrialT | None = None
    try:
        async with staged as scene:
            await _break_all(scene, faults, count)
    except* StuckError as stuck:
        _note(scene, *map(str, _leaves(stuck)))
    except* anyio.get_cancelled_exc_class():
        _note(scene, "it was interrupted before its end")
    assert scene is not None
    return scene


def _note(scene: Trial | None, *violations: str) -> None:
    if scene is not None:
        scene.violations += violations


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


async def _break_all(scene: TrialT, faults: Faults[TrialT], count: int) -> None:
    console = Console()
    with console.status("everybody takes their place") as status:
        await _seen_by_all(scene, "start")
        scene.recoveries.clear()
        for number, name in enumerate(_order(scene.chance, faults, count), 1):
            status.update(f"{number} of {count}: {name}")
            await faults[name][0](scene)
            await _seen_by_all(scene, name)
            scene.survived[name] += 1
            if number % FAULTS_BETWEEN_RESTS == 0 or number == count:
                await rest(scene)
                await compare(scene)
                if not console.is_terminal:
                    print(f"{number} of {count} faults, {len(scene.violations)} violations", flush=True)


def _order(chance: random.Random, faults: Mapping[str, tuple[object, int]], count: int) -> list[str]:
    """What breaks, one after the other: each kind once, and then by weight."""
    once = chance.sample([*faults], len(faults))
    more = chance.choices([*faults], [weight for _, weight in faults.values()], k=count)
    return [*once, *more][:count]


async def terminate(scene: Trial) -> None:
    """Have PostgreSQL end every session of ours."""
    async with connected(scene.database.dsn) as connection:
        await connection.execute(TERMINATE)


@asynccontextmanager
async def written_to(
    asked: argparse.Namespace, database: Database, dsn: str | None = None
) -> AsyncIterator[tuple[Sequence[Ledger], random.Random]]:
    """Who will write to a running database (a worker for ten browsers), and the chance that the seed gives.

    Args:
        asked: The options.
        database: Gets the schema.
        dsn: Leads the workers to the database wherever it is, if that is not always there.
    """
    chance = random.Random(asked.seed)  # noqa: S311 - the same for the same seed; guards nothing.
    await apply_schema(database.dsn, schema_text())
    ledgers = [
        Ledger(uuid4(), f"user {number}", dsn or database.dsn, random.Random(chance.random()))  # noqa: S311
        for number in range(asked.browsers // BROWSERS_OF_A_USER or 1)
    ]
    try:
        yield ledgers, chance
    finally:
        for ledger in ledgers:
            ledger.forget()


def watchers(
    ledgers: Sequence[Ledger], browsers: int, ports: Sequence[int]
) -> Mapping[Ledger, Sequence[Browser]]:
    """Ten browsers of each worker's user, or fewer if there are to be fewer in all, which go to *ports*."""
    return {
        ledger: [
            Browser(ledger.owner, token(ledger.user_id), [*ports[n % len(ports) :], *ports[: n % len(ports)]])
            for n in range(min(BROWSERS_OF_A_USER, browsers))
        ]
        for ledger in ledgers
    }


async def _seen_by_all(scene: Trial, fault: str) -> None:
    """Write every user's pulse, and wait until each of that user's browsers has seen it."""

    async def seen(ledger: Ledger, browser: Browser, count: int, since: float) -> None:
        def is_seen() -> bool:
            pulse = browser.picture.get(ledger.pulse_id)
            return pulse is not None and pulse["progress"]["completed"] >= count

        with anyio.move_on_after(SEEN_SECONDS_MAX) as scope:
            await browser.until(is_seen)
        if scope.cancelled_caught:
            scene.violations.append(f"{browser.owner} did not see the pulse after: {fault}")
        scene.recoveries.setdefault(fault, []).append(time.monotonic() - since)

    async def beat(ledger: Ledger) -> None:
        count = await ledger.beat()
        since = time.monotonic()
        for browser in scene.browsers[ledger]:
            waits.start_soon(seen, ledger, browser, count, since)

    async with anyio.create_task_group() as waits:
        for ledger in scene.ledgers:
            waits.start_soon(beat, ledger)


async def rest(scene: Trial) -> None:
    """Let the workers rest, each once it has made its present step."""
    async with anyio.create_task_group() as pauses:
        for ledger in scene.ledgers:
            pauses.start_soon(ledger.pause)


async def compare(scene: Trial) -> None:
    """While the workers rest, each browser's picture must become that of the database; then they go on."""
    deadline = time.monotonic() + SEEN_SECONDS_MAX
    for ledger in scene.ledgers:
        held = await ledger.at_work()
        for browser in scene.browsers[ledger]:
            with anyio.move_on_after(max(0.0, deadline - time.monotonic())) as scope:
                await browser.until(lambda browser=browser, held=held: at_work(browser.picture) == held)  # type: ignore[misc]
            if scope.cancelled_caught:
                shown = at_work(browser.picture)
                scene.violations.append(f"{browser.owner} is shown {shown}, and the database holds {held}")
            scene.violations += [*browser.missed(ledger.ended), *browser.faults]
            browser.faults.clear()
    for ledger in scene.ledgers:
        ledger.go_on()


def verdicts(scene: Trial) -> list[Figure]:
    """What was survived, and whether anything was lost, mixed up or went back."""
    ends = sum(len(ledger.ended) * len(scene.browsers[ledger]) for ledger in scene.ledgers)
    lost = sum("was not told that" in violation for violation in scene.violations)
    foreign = sum("was told of a job of" in violation for violation in scene.violations)
    back = sum("went back" in violation for violation in scene.violations)
    unlike = len(scene.violations) - lost - foreign - back
    return [
        *(figure(f"survived: {name}", "faults", [count]) for name, count in sorted(scene.survived.items())),
        figure(f"ends seen, of {ends:,}", "ends", [ends - lost], at_least=ends),
        figure("foreign rows", "rows", [foreign], at_most=0),
        figure("revisions that went back", "rows", [back], at_most=0),
        figure("pictures unlike the database", "pictures", [unlike], at_most=0),
    ]


def spans(title: str, seconds: Sequence[float], at_most_ms: float | None = None) -> Iterator[Figure]:
    """The median and the 99th percentile of these, if there are enough; the latter may have a goal."""
    if len(seconds) > 1:
        shares = statistics.quantiles(seconds, n=100, method="inclusive")
        yield figure(f"{title}, p50", "ms", [1000 * shares[49]])
        yield figure(f"{title}, p99", "ms", [1000 * shares[98]], at_most=at_most_ms)
