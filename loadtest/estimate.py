"""How good the time left is that is shown, beside a global mean, tqdm, rich and Uppy on the same traces.

Each kind of work is run many times; what is printed of it is the mean over its runs. The goals are for the
kinds that the estimator was fitted on and for those that were held out.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from loadtest.countdowns import COUNTDOWNS, as_job
from loadtest.figures import Figure, Line, Plot, console, figure
from loadtest.kinds import HELD_OUT, TRAINING, UNLIKE, Kind, traces
from loadtest.marks import Marks, looks, marks, mean
from loadtest.report import options, parsed, publish
from progress_service.core.estimate import Pace, advanced, begun, estimate
from progress_service.core.model import Instant, Job

HELD_OUT_SEED = 1_000
JITTER_MAX = 1.0
COVERED_MIN, COVERED_MAX = 0.75, 0.85
OURS, *OTHERS = COUNTDOWNS


@dataclass(frozen=True, slots=True)
class Group:
    """Kinds of work that belong together, and the marks of each countdown in all their runs."""

    title: str
    is_promised: bool
    runs: Mapping[str, Mapping[str, Sequence[Marks]]]
    """By kind and countdown."""

    def means(self, countdown: str, mark: Callable[[Marks], float | None]) -> dict[str, float | None]:
        """The mean of one mark of one countdown, by kind."""
        return {kind: mean(map(mark, runs[countdown])) for kind, runs in self.runs.items()}


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    countdown: str
    mark: Callable[[Marks], float | None]
    factor: float

    def shown(self, value: float | None) -> str:
        """In the unit of the heading."""
        if value is None:
            return "-"
        return f"{self.factor * value:.{2 if self.factor == 1 and value < 10 else 0}f}"


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    fitted, fresh = range(asked.runs), range(HELD_OUT_SEED, HELD_OUT_SEED + asked.runs)
    groups = [
        _group("Fitted on", TRAINING, fitted),
        _group("Held out: the same kinds, other seeds", TRAINING, fresh),
        _group("Held out: other parameters, other seeds", HELD_OUT, fresh),
        _group("Unlike, nothing promised", UNLIKE, fresh, is_promised=False),
    ]
    screen = console()
    for group in groups:
        screen.print(_kinds(group), "")
    promised = [group for group in groups if group.is_promised]
    screen.print(_by_tenth(promised), "", _changes(groups), "", *_verdicts(promised), *_costs(), sep="\n")
    if asked.marks is not None:
        asked.marks.write_text(json.dumps([asdict(group) for group in groups], indent=1) + "\n")
    publish("The time left", [*_figures(promised)], asked, plots=[_curve(promised)])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("estimate", __doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind of work")
    parser.add_argument("--marks", type=Path, metavar="FILE", help="write the marks of every run there")
    return parser


def _group(title: str, kinds: Mapping[str, Kind], seeds: range, *, is_promised: bool = True) -> Group:
    found: dict[str, dict[str, list[Marks]]] = {}
    for trace in traces(kinds, seeds):
        seen = {name: looks(make, trace) for name, make in COUNTDOWNS.items()}
        judged = [look.left_seconds is not None for look in seen[OURS]]
        for name, shown in seen.items():
            found.setdefault(trace.kind, {}).setdefault(name, []).append(marks(trace, shown, judged))
    return Group(title, is_promised, found)


def _kinds(group: Group) -> Table:
    """Error and jitter of all countdowns; of ours also how long it is silent, and what its range is worth."""
    columns = [
        *(_Column("error\n%", name, lambda run: run.error, 100) for name in COUNTDOWNS),
        *(_Column("jitter\ns/s", name, lambda run: run.jitter, 1) for name in COUNTDOWNS),
        _Column("silent\n%", OURS, lambda run: run.unknown, 100),
        _Column("range\n%", OURS, lambda run: run.covered, 100),
    ]
    table = Table(title=group.title, title_justify="left")
    table.add_column(no_wrap=True)
    for column in columns:
        is_first = column.countdown == OURS
        table.add_column(f"{column.heading if is_first else chr(10)}\n{column.countdown}", justify="right")
    means = [group.means(column.countdown, column.mark) for column in columns]
    for kind in group.runs:
        table.add_row(kind, *(column.shown(of[kind]) for column, of in zip(columns, means, strict=True)))
    table.add_section()
    summaries = [*(_worst(of.values()) for of in means[:-1]), mean(means[-1].values())]
    shown = (column.shown(summary) for column, summary in zip(columns, summaries, strict=True))
    table.add_row("the worst (range: mean)", *shown, style="bold")
    return table


def _by_tenth(groups: Sequence[Group]) -> Table:
    """The error on the way from the start of a job to its end."""
    table = Table(
        "", title="Error in each tenth of the run, %, all kinds but the unlike", title_justify="left"
    )
    for tenth in range(1, 11):
        table.add_column(f"{tenth}", justify="right")
    table.add_column("unknown, %", justify="right")
    for name in COUNTDOWNS:
        runs = [run for group in groups for of in group.runs.values() for run in of[name]]
        errors = (mean(run.errors[tenth] for run in runs) for tenth in range(10))
        table.add_row(name, *map(_percent, errors), _percent(mean(run.unknown for run in runs)))
    return table


def _changes(groups: Sequence[Group]) -> Table:
    """How soon a change of speed is in the time left."""
    title = "Seconds from a change of speed to 10 s within a fifth of the truth, median"
    table = Table("", *COUNTDOWNS, title=title, title_justify="left")
    for kind, runs in [pair for group in groups for pair in group.runs.items()]:
        adapted = [
            [run.adapted_seconds for run in runs[name] if run.adapted_seconds is not None] for name in runs
        ]
        if all(adapted):
            medians = map(median, adapted)
            table.add_row(kind, *("never" if math.isinf(m) else f"{m:.0f}" for m in medians))
    return table


def _verdicts(groups: Sequence[Group]) -> Iterator[str]:
    """The goals, and whether they are met."""
    error = {
        name: max(_worst(group.means(name, lambda run: run.error).values()) for group in groups)
        for name in COUNTDOWNS
    }
    for name in OTHERS:
        text = f"error on the worst kind: {error[OURS]:.0%}, {name} {error[name]:.0%}"
        yield _verdict(text, is_met=error[OURS] < error[name])
    jitter = max(_worst(group.means(OURS, lambda run: run.jitter).values()) for group in groups)
    text = f"jitter on the worst kind: {jitter:.2f} s/s, at most {JITTER_MAX:.0f}"
    yield _verdict(text, is_met=jitter <= JITTER_MAX)
    runs = [run.jitter or 0.0 for group in groups for kind in group.runs.values() for run in kind[OURS]]
    still = mean(jitter <= JITTER_MAX for jitter in runs)
    yield f"         in {still:.1%} of the single runs it is; the worst has {max(runs):.2f} s/s"
    for group in groups:
        covered = mean(group.means(OURS, lambda run: run.covered).values()) or 0.0
        text = f"truths in the 80 % range, {group.title.lower()}: {covered:.1%}"
        yield _verdict(text, is_met=COVERED_MIN <= covered <= COVERED_MAX)


def _figures(groups: Sequence[Group]) -> Iterator[Figure]:
    """What the verdicts are about, of each way to tell the time left."""
    for name in COUNTDOWNS:
        error = max(_worst(group.means(name, lambda run: run.error).values()) for group in groups)
        yield figure(f"{name}: error on the worst kind", "%", [100 * error])
        jitter = max(_worst(group.means(name, lambda run: run.jitter).values()) for group in groups)
        limit = JITTER_MAX if name == OURS else None
        yield figure(f"{name}: jitter on the worst kind", "s/s", [jitter], at_most=limit)


def _curve(groups: Sequence[Group]) -> Plot:
    lines = []
    for name in COUNTDOWNS:
        runs = [run for group in groups for of in group.runs.values() for run in of[name]]
        errors = [mean(run.errors[tenth] for run in runs) for tenth in range(10)]
        lines.append(
            Line(name, [(n + 1, 100 * error) for n, error in enumerate(errors) if error is not None])
        )
    return Plot("tenths", "Error of the time left", "tenth of the run", "%", lines)


def _verdict(text: str, *, is_met: bool) -> str:
    return f"{'[green]met[/]    ' if is_met else '[red]missed[/] '}  {text}"


def _costs() -> Iterator[str]:
    """What it costs the reducer for a job that reports four times a second, and for one in batches."""
    for kind in ("steady", "batches of 50"):
        (trace,) = traces({kind: TRAINING[kind]}, range(1))
        heard = [(as_job(report), Instant(report.at)) for report in trace.reports] * 10
        pace = begun(*heard[0])
        seconds = min(_seconds_taken(pace, heard) for _ in range(20))
        yield f"{1e6 * seconds / len(heard):.2f} µs a report, {kind} ({len(heard):,} reports)"
    began = time.process_time()
    for _ in range(10_000):
        estimate(pace, *heard[-1])
    yield f"{100 * (time.process_time() - began):.2f} µs an estimate; {sys.getsizeof(pace)} bytes a job"


def _seconds_taken(pace: Pace, heard: Sequence[tuple[Job, Instant]]) -> float:
    began = time.process_time()
    for job, at in heard:
        pace = advanced(pace, job, at)
    return time.process_time() - began


def _worst(values: Iterable[float | None]) -> float:
    return max((value for value in values if value is not None), default=0.0)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"
