"""What was measured: figures, each beside its goal, and curves; and the machine that it was measured on."""

import os
import platform
import statistics
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "asyncpg", "starlette", "sse-starlette")
"""What the service is made of, as far as its speed depends on it."""


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
            return f"≥ {shown(self.at_least)}"
        return "" if self.at_most is None else f"≤ {shown(self.at_most)}"

    @property
    def verdict(self) -> str:
        """What became of the goal, in a word."""
        return {True: "met", False: "missed", None: ""}[self.is_met]

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return asdict(self) | {"is_met": self.is_met}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot, through points of x and y."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture of several lines. `limit` is drawn as a goal that y must not exceed."""

    name: str
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    is_log_x: bool = False
    is_log_y: bool = False
    limit: float | None = None


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


def crowding(moments: Sequence[float]) -> tuple[int, float]:
    """How many of these sorted moments (in seconds) fall into one second: at most, and on average.

    What is over in less than a second is not faster than all of it in one.
    """
    most = max(bisect_left(moments, at + 1.0) - number for number, at in enumerate(moments))
    return most, len(moments) / max(1.0, moments[-1] - moments[0])


def shown(value: float) -> str:
    """A number for people: three digits at least, where there are any to show."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def console() -> Console:
    """Where tables go. A pipe has no width of its own, and a table that is cut hides what it is for."""
    return Console(width=None if sys.stdout.isatty() else 120)


def table(title: str, figures: Sequence[Figure]) -> Table:
    """The figures for people."""
    drawn = Table("", "unit", title=title, title_justify="left")
    for heading in ("median", "lowest", "highest", "runs", "goal"):
        drawn.add_column(heading, justify="right")
    drawn.add_column("")
    for each in figures:
        span = (shown(value) for value in (each.median, each.low, each.high))
        color = {True: "[green]", False: "[red]", None: ""}[each.is_met]
        drawn.add_row(each.name, each.unit, *span, str(each.runs), each.goal, color + each.verdict)
    return drawn


def machine() -> dict[str, str]:
    """What the figures depend on."""
    found = {
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        platform.system(): f"{platform.release()} {platform.machine()}",
        platform.python_implementation(): platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _processor() -> str:
    """What the processor calls itself; Linux only, elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
