"""What a program leaves behind: a table on the screen, and a folder with JSON, Markdown and pictures.

Every program takes the same two options: `--report FOLDER`, which is `reports/<program>` unless told
otherwise, and `--json FILE`, which has the figures written to one more place.
"""

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.figures import Figure, Line, Plot, console, machine, shown, table

JSON_NAME, MARKDOWN_NAME, OVERVIEW = "report.json", "report.md", "figures"


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of a program found. `notes` are what a reader of the figures has to know besides."""

    program: str
    title: str
    command: str
    figures: Sequence[Figure]
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it, with the machine and the date, for machines."""
        return {
            "program": self.program,
            "title": self.title,
            "command": self.command,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "notes": list(self.notes),
            "figures": [each.as_json() for each in self.figures],
            "plots": [asdict(plot) for plot in self.plots],
        }


def options(program: str, documentation: str | None) -> argparse.ArgumentParser:
    """The options that every program has; it adds its own."""
    made = argparse.ArgumentParser(
        prog=f"python -m loadtest {program}", description=(documentation or "").partition("\n")[0]
    )
    made.set_defaults(program=program)
    folder = Path("reports") / program
    made.add_argument(
        "--report", type=Path, metavar="FOLDER", default=folder, help=f"where the report goes ({folder})"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return made


def parsed(made: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for, with the whole command, so that a report can say how to repeat it."""
    asked = made.parse_args(arguments)
    # Where the report goes is no part of what is to be repeated.
    places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    places.add_argument("--report")
    places.add_argument("--json")
    _, options = places.parse_known_args(arguments)
    asked.command = shlex.join(["python", "-m", "loadtest", asked.program, *options])
    return asked


def publish(
    title: str,
    figures: Sequence[Figure],
    asked: argparse.Namespace,
    *,
    plots: Sequence[Plot] = (),
    notes: Sequence[str] = (),
) -> None:
    """Print the figures, and write the report."""
    report = Report(asked.program, title, asked.command, figures, plots, notes)
    screen = console()
    screen.print(table(title, figures))
    for note in notes:
        screen.print(note)
    screen.print(", ".join(f"{name} {value}" for name, value in machine().items()), style="dim")
    content = report.as_json()
    _write(report, content, asked.report)
    if asked.json is not None:
        _write_json(content, asked.json)
    screen.print(f"The report is in {asked.report}.", style="dim")


def _write(report: Report, content: dict[str, Any], folder: Path) -> None:
    """The report's files: its JSON, its Markdown and a picture of each plot."""
    # The library takes half a second and 60 MB, which nobody should pay while something is measured.
    from loadtest.pictures import draw_figures, draw_plot  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    _write_json(content, folder / JSON_NAME)
    draw_figures(report.title, report.figures, folder / f"{OVERVIEW}.svg")
    for plot in report.plots:
        draw_plot(plot, folder / f"{plot.name}.svg")
    (folder / MARKDOWN_NAME).write_text(_markdown(report, content), encoding="utf-8")


def _markdown(report: Report, content: dict[str, Any]) -> str:
    """The whole report as a page."""
    pictures = [f"![{plot.title}]({plot.name}.svg)" for plot in report.plots]
    machine_line = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    return "\n\n".join(
        [
            f"# {report.title}",
            f"    {report.command}",
            figures_table(report.figures),
            *(f"- {note}" for note in report.notes),
            *pictures,
            f"![{report.title}: every figure]({OVERVIEW}.svg)",
            f"Measured {content['date']}: {machine_line}",
            "",
        ]
    )


def figures_table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown: what was measured of several services side by side, ratios, and the rest."""
    services, ratios = _compared(figures, are_ratios=False), _compared(figures, are_ratios=True)
    beside = {each.name for group in (services, ratios) for of in group.values() for each in of.values()}
    rest = [each for each in figures if each.name not in beside]
    return "\n\n".join(filter(None, (_side_by_side(services), _side_by_side(ratios), _one_by_one(rest))))


def _compared(figures: Sequence[Figure], *, are_ratios: bool) -> Mapping[str, Mapping[str, Figure]]:
    """By quantity, the figures of those of whom it was measured, where these are several."""
    quantities: dict[str, dict[str, Figure]] = {}
    for each in figures:
        owner, colon, quantity = each.name.partition(": ")
        if colon and (" / " in owner) == are_ratios:
            quantities.setdefault(quantity, {})[owner] = each
    return {quantity: of for quantity, of in quantities.items() if len(of) > 1}


def _side_by_side(compared: Mapping[str, Mapping[str, Figure]]) -> str:
    names = list(dict.fromkeys(name for of in compared.values() for name in of))
    if not names:
        return ""
    rows = [f"| | unit | {' | '.join(names)} | goal |", f"|---|---|{'---:|' * len(names)}---|"]
    for quantity, of in compared.items():
        units = dict.fromkeys(each.unit for each in of.values())
        cells = [_cell(of[name]) if name in of else "" for name in names]
        goals = [f"{name} {each.goal}: {each.verdict}" for name, each in of.items() if each.goal]
        rows.append(f"| {quantity} | {', '.join(units)} | {' | '.join(cells)} | {', '.join(goals)} |")
    return "\n".join(rows)


def _one_by_one(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    rows = [
        "| | unit | median | lowest | highest | runs | goal | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for each in figures:
        cells = (each.name, each.unit, _cell(each), shown(each.low), shown(each.high), each.runs, each.goal)
        rows.append("| " + " | ".join(map(str, cells)) + f" | {each.verdict} |")
    return "\n".join(rows)


def _cell(each: Figure) -> str:
    return f"**{shown(each.median)}**" if each.is_met is False else shown(each.median)


def read(path: Path) -> tuple[Report, dict[str, Any]]:
    """A report that was written, and all that its JSON says."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for each in content["figures"]:
        each.pop("is_met")
    plots = [
        Plot(**plot | {"lines": [Line(line["name"], line["points"]) for line in plot["lines"]]})
        for plot in content["plots"]
    ]
    figures = [Figure(**each) for each in content["figures"]]
    report = Report(
        content["program"], content["title"], content["command"], figures, plots, content["notes"]
    )
    return report, content


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
