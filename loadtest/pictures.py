"""Reports as pictures: lines of a curve, and every figure with its span and its goal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from loadtest.figures import Figure, Plot, shown

COLORS = ("#0b6bcb", "#d1495b", "#3c896d", "#8e6c8a", "#c98a2b", "#52606d", "#17a2b8", "#7a4419")
GOAL_COLOR = "#8a8a8a"
WIDTH_INCHES, PLOT_INCHES, BAR_INCHES = 8.0, 4.2, 0.3
# Text stays text, and what is drawn twice from the same figures is the same file.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "loadtest",
    "font.family": "sans-serif",
    "font.size": 9,
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw_plot(plot: Plot, path: Path) -> None:
    """Draw the lines of *plot*."""
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH_INCHES, PLOT_INCHES), layout="constrained")
        axes = canvas.add_subplot()
        for number, line in enumerate(plot.lines):
            marker = "o" if len(line.points) <= 12 else ""
            color = COLORS[number % len(COLORS)]
            axes.plot(*zip(*line.points, strict=True), marker=marker, color=color, label=line.name)
        if plot.limit is not None:
            axes.axhline(
                plot.limit, color=GOAL_COLOR, linestyle=":", label=f"goal: at most {shown(plot.limit)}"
            )
        if plot.is_log_x:
            axes.set_xscale("log")
        if plot.is_log_y:
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.1 * max(y for line in plot.lines for _, y in line.points) or 1)
        axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
        _label(axes.xaxis, is_log=plot.is_log_x)
        _label(axes.yaxis, is_log=plot.is_log_y)
        axes.grid(alpha=0.3)
        canvas.legend(frameon=False, loc="outside right upper")
        _tidy(axes)
        canvas.savefig(path, format="svg", metadata=NO_METADATA)


def _label(axis: Axis, *, is_log: bool) -> None:
    """Write numbers as people do, also along a logarithmic axis of less than a decade."""
    if is_log:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))


def draw_figures(title: str, figures: Sequence[Figure], path: Path) -> None:
    """Draw a bar for each figure, by unit and quantity, with the span of its runs and its goal."""
    places: dict[str, int] = {}
    for each in figures:
        places.setdefault(_quantity(each), len(places))
    groups: dict[str, list[Figure]] = {}
    for each in sorted(figures, key=lambda each: places[_quantity(each)]):
        groups.setdefault(each.unit, []).append(each)
    with mpl.rc_context(STYLE):
        height = BAR_INCHES * len(figures) + 0.7 * len(groups) + 0.4
        canvas = Canvas(figsize=(WIDTH_INCHES, height), layout="constrained")
        canvas.suptitle(title)
        ratios = [len(group) + 1 for group in groups.values()]
        panels = canvas.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)
        for (unit, group), axes in zip(groups.items(), panels[:, 0], strict=True):
            _draw_group(axes, unit, group)
        canvas.savefig(path, format="svg", metadata=NO_METADATA)


def _draw_group(axes: Axes, unit: str, group: Sequence[Figure]) -> None:
    colors = _colors(group)
    for place, each in enumerate(group):
        axes.barh(place, each.median, color=colors[each.name], height=0.6)
        axes.plot([each.low, each.high], [place, place], color="black", linewidth=1)
        goal = each.at_least if each.at_most is None else each.at_most
        if goal is not None:
            axes.plot([goal, goal], [place - 0.45, place + 0.45], color="black", linestyle=":", linewidth=1.5)
        note = f" {shown(each.median)}" + (f" ({each.goal}: {each.verdict})" if each.goal else "")
        axes.text(max(each.median, each.high, goal or 0), place, note, va="center", fontsize=8)
    axes.set_yticks(range(len(group)), [each.name for each in group])
    axes.invert_yaxis()
    axes.margins(x=0.25, y=0.01)
    axes.set_xlim(left=min(0.0, *(each.low for each in group)))
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    _tidy(axes)


def _quantity(each: Figure) -> str:
    """What was measured, of whomever: it comes after the colon."""
    return each.name.rpartition(": ")[2]


def _colors(group: Sequence[Figure]) -> Mapping[str, str]:
    """One color for whatever was measured of one service: its name comes before the colon."""
    owners: dict[str, str] = {}
    for each in group:
        owners.setdefault(each.name.partition(":")[0], COLORS[len(owners) % len(COLORS)])
    return {each.name: owners[each.name.partition(":")[0]] for each in group}


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
