"""Latency against processor time: one service for each pause between reads, at several rates, beside `plain`.

The load and the checks are those of `users`. The pause is the constant `PAUSE_SECONDS` of
`progress_service.feeds.reader`, which the measured process replaces before it serves. All pauses and `plain`
take turns at one rate, and then at the next. The pictures show one line for each rate and one point for each
pause.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from loadtest.contest import Contestant, ours, take_turns, taking_part
from loadtest.figures import Figure, Line, Plot, figure
from loadtest.live import live
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, world
from loadtest.served import PAUSE
from loadtest.traffic import Load, Run, quantile, run

PLAIN = "plain"

Runs = Mapping[float, Mapping[str, Sequence[Run]]]
"""By rate and name."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    people = People(asked.users)
    allow_files(2 * asked.users)
    chosen = [*(_pausing(pause) for pause in asked.pauses), *taking_part([PLAIN])[0][1:]]
    notes: list[str] = []
    runs: dict[float, dict[str, list[Run]]] = {}
    with live("frontier", asked.runs * len(chosen) * len(asked.rates)) as now, world() as there:
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        for rate in asked.rates:
            load = Load(people, rate, asked.writers, asked.seconds)

            def measure(each: Contestant, load: Load = load) -> Run:
                now.say(f"{load.per_second:,.0f} UPDATE/s")
                return run(there, each, databases[each.name], load, now)

            runs[rate] = take_turns(chosen, asked.runs, measure, notes, now)
    title = f"Pauses between reads, {asked.users:,} people, {asked.writers} writers"
    publish(title, [*_figures(runs)], asked, plots=[*_plots(runs)], notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("frontier", __doc__)
    pauses, rates = [0, 1, 2, 3, 4, 6], [100, 300, 1_000, 3_000]
    parser.add_argument("--pauses", type=float, nargs="+", default=pauses, help="milliseconds between reads")
    parser.add_argument("--rates", type=float, nargs="+", default=rates, help="UPDATEs a second, in all")
    parser.add_argument("--users", type=int, default=2_000, help="people, each with a job")
    parser.add_argument("--writers", type=int, default=8, help="writers, each a process with a connection")
    parser.add_argument("--seconds", type=float, default=4, help="how long each run is timed")
    parser.add_argument("--runs", type=int, default=1, help="runs of each; the median counts")
    return parser


def _pausing(milliseconds: float) -> Contestant:
    return ours(f"ours, {milliseconds:g} ms", settings={PAUSE: str(milliseconds / 1_000)})


def _figures(runs: Runs) -> Iterator[Figure]:
    for rate, of in runs.items():
        for name, taken in of.items():
            at = f"{name}: {rate:,.0f}/s"
            for share, label in ((0.5, "p50"), (0.99, "p99")):
                delays = [1e3 * quantile(each.since_stamped, share) for each in taken]
                yield figure(f"{at}, commit to frame, {label}", "ms", delays)
            yield figure(f"{at}, written", "UPDATE/s", [each.written_per_second for each in taken])
            yield figure(f"{at}, the service", "% of a core", [100 * each.service_share for each in taken])
            yield figure(f"{at}, PostgreSQL", "% of a core", [100 * each.database_share for each in taken])
            pairs = [*zip(taken, of.get(PLAIN, ()), strict=False)] if name != PLAIN else []
            for quantity, ratios in (
                ("service CPU for each change", [100 * a.service_cpu / b.service_cpu for a, b in pairs]),
                ("PostgreSQL CPU for each UPDATE", [100 * _of_update(a) / _of_update(b) for a, b in pairs]),
            ):
                if ratios:
                    yield figure(f"{name} / {PLAIN}: {rate:,.0f}/s, {quantity}", "%", ratios)


def _of_update(run: Run) -> float:
    """PostgreSQL's processor time for each UPDATE, as far as they were written."""
    return run.database_share / run.written_per_second


def _plots(runs: Runs) -> Iterator[Plot]:
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        lines = [Line(f"{rate:,.0f}/s", _points(of, share)) for rate, of in runs.items() if PLAIN in of]
        yield Plot(
            label, "Latency against CPU", "service CPU for each change, % of plain's", f"{label}, ms", lines
        )


def _points(of: Mapping[str, Sequence[Run]], share: float) -> list[tuple[float, float]]:
    """Of each pause, processor time and delay; in the order of the pauses."""
    plain = median(each.service_cpu for each in of[PLAIN])
    return [
        (
            100 * median(each.service_cpu for each in taken) / plain,
            1e3 * median(quantile(each.since_stamped, share) for each in taken),
        )
        for name, taken in of.items()
        if name != PLAIN
    ]
