"""A set of programs in about ten minutes, and docs/performance.md made anew from what they found.

Each program runs in a process of its own, one after another, and leaves its report under reports/. The page
is written from those reports alone, so that nothing on it has been written by hand; what missed its goal, or
is worse than with a peer, comes first. `--long` takes half an hour, for all peers and larger numbers.
`--page-only` writes the page again without measuring.
"""

import argparse
import ast
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.contest import OURS, contestants
from loadtest.figures import Figure, shown
from loadtest.live import live
from loadtest.report import JSON_NAME, OVERVIEW, Report, figures_table, read

SHORT: Mapping[str, Sequence[str]] = {
    "users": ("--seconds", "3", "--peers", "ours-wal", "plain", "better-sse", "nchan"),
    "latency": ("--seconds", "3", "--runs", "1", "--rates", "300", "1000", "--peers", "plain"),
    "fanout": ("--seconds", "2", "--runs", "3"),
    "streams": ("--streams", "2000", "--peers", "plain"),
    "storm": ("--peers",),
    "jobs": (),
    "writers": ("--writers", "8", "--seconds", "2"),
    "slow": ("--runs", "3"),
    "soak": ("--minutes", "1"),
}
LONG: Mapping[str, Sequence[str]] = {
    **SHORT,
    "users": ("--seconds", "3"),
    "latency": ("--seconds", "3", "--runs", "1", "--peers", "ours-wal", "plain"),
    "streams": ("--streams", "2000", "18000", "--peers", "plain", "better-sse", "nchan"),
    "storm": ("--peers", "plain"),
    "writers": ("--seconds", "2"),
}
"""What is run, with which options."""

REPORTS, PAGE = Path("reports"), Path("docs/performance.md")
PICTURES = Path("docs/images/performance")

IS_MORE_BETTER = {
    "frames/s": True,
    "opens/s": True,
    "streams/s": True,
    "ms": False,
    "µs": False,
    "bytes": False,
}
"""Of quantities in these units one can say which of two is better."""

OF_OTHERS = ("written", "UPDATE and commit")
"""Quantities that tell of the database, and not of who follows it."""

HEAD = """\
# Performance

This page was written on {date}, from the reports of the programs named below, and nothing on it by hand.
`make load` writes it anew in about ten minutes, `python -m loadtest performance --long` more thoroughly.

Figures are medians, of three runs or more where a goal is set. What is compared took turns in one run. Each
program checks what it receives, and a wrong answer ends it with an error, however fast it came. Bold is what
missed its goal. More about how it is measured is in [loadtest/README.md](../loadtest/README.md).

The machine: {machine}. Other programs may have run on it.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the page; the exit status is 1 if a program failed."""
    asked = _parser().parse_args(arguments)
    failed = [] if asked.page_only else _measured(asked.programs, LONG if asked.long else SHORT)
    reports = [read(path) for name in SHORT if (path := REPORTS / name / JSON_NAME).exists()]
    if not reports:
        print(f"There is no report under {REPORTS}/, so there is nothing to write.", file=sys.stderr)
        return 1
    page = _page(reports)
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE} has the figures of {', '.join(report.program for report, _ in reports)}.")
    if failed:
        print(f"These failed, and their figures are older: {', '.join(failed)}.", file=sys.stderr)
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest performance", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--programs", nargs="+", choices=[*SHORT], default=[*SHORT], metavar="NAME", help=", ".join(SHORT)
    )
    parser.add_argument("--long", action="store_true", help="half an hour: all peers, and larger numbers")
    parser.add_argument(
        "--page-only", action="store_true", help="only write the page, from reports that are there"
    )
    return parser


def _measured(names: Sequence[str], options: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Run the programs; the names of those that failed."""
    failed = []
    with live("performance", len(names)) as now:
        for name in names:
            now.step(" ".join((name, *options[name])))
            began = time.monotonic()
            command = [sys.executable, "-m", "loadtest", name, *options[name]]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
            print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return failed


def _page(reports: Sequence[tuple[Report, Mapping[str, Any]]]) -> str:
    newest = max(reports, key=lambda pair: str(pair[1]["date"]))[1]
    machine = ", ".join(f"{name} {value}" for name, value in newest["machine"].items())
    found = [report for report, _ in reports]
    parts = [
        HEAD.format(date=newest["date"][:10], machine=machine),
        "## What missed its goal, or is worse than with a peer",
        "\n".join(_missed(found)) or "Nothing.",
        "\n".join(_worse(found)),
        "## Goals",
        _goals(found),
    ]
    for report, content in reports:
        parts += _section(report, str(content["date"]))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _missed(reports: Sequence[Report]) -> Iterator[str]:
    for report in reports:
        for each in report.figures:
            if each.is_met is False:
                yield (
                    f"- `{report.program}`: {each.name} is **{shown(each.median)} {each.unit}**, "
                    f"and was to be {each.goal}."
                )


def _worse(reports: Sequence[Report]) -> Iterator[str]:
    """Where a peer is better than ours, each quantity once, with all the peers that are."""
    for report in reports:
        figures = {each.name: each for each in report.figures}
        for name, ours in figures.items():
            owner, _, quantity = name.partition(": ")
            if owner != OURS or ours.unit not in IS_MORE_BETTER or quantity.startswith(OF_OTHERS):
                continue
            better = [
                f"{peer} {shown(theirs.median)}"
                for peer in contestants()
                if not peer.startswith(OURS)
                and (theirs := figures.get(f"{peer}: {quantity}")) is not None
                and _is_better(theirs, ours)
            ]
            if better:
                text = f"{quantity}: ours {shown(ours.median)} {ours.unit}, {', '.join(better)}"
                yield f"- `{report.program}`: {text}."


def _is_better(theirs: Figure, ours: Figure) -> bool:
    is_more = theirs.median > ours.median
    return theirs.median != ours.median and is_more == IS_MORE_BETTER[ours.unit]


def _goals(reports: Sequence[Report]) -> str:
    rows = ["| program | | unit | median | goal | |", "|---|---|---|---:|---:|---|"]
    for report in reports:
        for each in report.figures:
            if each.goal:
                median = shown(each.median) if each.is_met else f"**{shown(each.median)}**"
                cells = (f"`{report.program}`", each.name, each.unit, median, each.goal, each.verdict)
                rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _section(report: Report, date: str) -> Iterator[str]:
    """A program's part of the page, with its pictures, which are copied beside the other ones."""
    yield f"## {report.title}"
    yield _description(report.program)
    yield f"```sh\n{report.command}\n```"
    yield figures_table(report.figures)
    yield "\n".join(f"- {note}" for note in report.notes)
    PICTURES.mkdir(parents=True, exist_ok=True)
    pictures = {plot.name: plot.title for plot in report.plots} or {OVERVIEW: report.title}
    for name, title in pictures.items():
        picture = PICTURES / f"{report.program}-{name}.svg"
        shutil.copyfile(REPORTS / report.program / f"{name}.svg", picture)
        yield f"![{title}]({picture.relative_to(PAGE.parent)})"
    yield f"Measured {date[:16].replace('T', ' ')} UTC."


def _description(program: str) -> str:
    """What the program's own text says after its first line."""
    path = Path(__file__).with_name(f"{program}.py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[2].strip()
