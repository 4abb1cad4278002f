"""What was measured, each figure beside its goal: a table for people and JSON for machines."""

import json
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: the median of its runs, the lowest and the highest."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    runs: int
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the goal; None when none was set."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.at_least is not None:
            return f"≥ {self.at_least:,.0f}"
        return "" if self.at_most is None else f"≤ {self.at_most:,.0f}"


def figure(
    name: str,
    unit: str,
    measured: Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Figure:
    """The figure that several runs amount to."""
    return Figure(
        name,
        unit,
        statistics.median(measured),
        min(measured),
        max(measured),
        len(measured),
        at_least,
        at_most,
    )


def show(title: str, figures: Sequence[Figure], json_file: Path | None = None) -> None:
    """Print the figures, and write them to *json_file* too when one is given."""
    table = Table("", "unit", title=title, title_justify="left")
    for heading in ("median", "lowest", "highest", "runs", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for measured in figures:
        span = (f"{value:,.0f}" for value in (measured.median, measured.low, measured.high))
        verdict = {True: "[green]met", False: "[red]missed", None: ""}[measured.is_met]
        table.add_row(measured.name, measured.unit, *span, str(measured.runs), measured.goal, verdict)
    # A pipe has no width of its own, and a table that is cut to 80 columns hides what it is for.
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()), style="dim")
    if json_file is not None:
        shown = [asdict(measured) | {"is_met": measured.is_met} for measured in figures]
        json_file.write_text(
            json.dumps({"title": title, "machine": machine(), "figures": shown}, indent=2) + "\n"
        )


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        platform.python_implementation(): platform.python_version(),
        "msgspec": version("msgspec"),
        platform.system(): platform.machine(),
    }
