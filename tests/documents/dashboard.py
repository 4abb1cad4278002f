"""docs/images/dashboard.png: the dashboard as it looks after some minutes of a busy cluster.

    python -m tests.documents.dashboard

Grafana itself is not here. A real Prometheus scrapes real processes, and the panels of deploy/grafana are
drawn from what it answers, each in its own place and with its own queries, names and units.
"""

import argparse
import io
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

import anyio
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from progress_service.embedded import embedded_postgres
from tests.documents.busy import keep_busy
from tests.grafana import DASHBOARD, filled
from tests.postgres import database, database_with_schema
from tests.prometheus import Prometheus, Series, observed

PICTURE: Final = Path(__file__).parents[2] / "docs" / "images" / "dashboard.png"
SCRAPE_SECONDS: Final = 2
INTERVAL: Final = "10s"

COLORS_MAX: Final = 256
COLUMN_PIXELS, ROW_PIXELS, GAP_PIXELS, DPI = 62, 30, 7, 100
WIDTH: Final = 24 * COLUMN_PIXELS
BACKGROUND, PANEL, EDGE, TEXT, FAINT = "#f4f5f5", "#ffffff", "#e4e7eb", "#24292e", "#6b7580"
COLORS: Final = (
    "#56a64b",
    "#e0b400",
    "#1f78c1",
    "#e24d42",
    "#8f3bb8",
    "#ff780a",
    "#3274d9",
    "#806eb7",
    "#5794f2",
)
NAMED: Final = {"green": "#37872d", "orange": "#e07b00", "red": "#c4162a", "blue": "#1f60c4"}
STYLE: Final[Any] = {"font.family": "sans-serif", "font.size": 8, "text.color": TEXT, "axes.edgecolor": EDGE}


def shown(value: float, unit: str) -> str:
    """A value as Grafana writes it."""
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    step, names = (1024.0, ("B", "KiB", "MiB", "GiB")) if unit == "bytes" else (1000.0, ("", "k", "M", "G"))
    if unit == "Bps":
        names = ("B/s", "kB/s", "MB/s", "GB/s")
    power = 0
    while abs(value) >= step and power < len(names) - 1:
        value, power = value / step, power + 1
    per_second = {"cps": " /s", "reqps": " /s"}.get(unit, "")
    return f"{value:.3g} {names[power]}".rstrip() + per_second


def named(form: str, labels: Mapping[str, str]) -> str:
    """What a series is called in the legend."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), form)


def _with_gaps(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The points, and one without a value wherever some are missing, so that no line leads across."""
    before: float | None = None
    for at, value in points:
        if before is not None and at - before > 1.5 * SCRAPE_SECONDS:
            yield before + SCRAPE_SECONDS, nan
        yield at, value if isfinite(value) else nan
        before = at


class Canvas:
    """A sheet on which panels are laid out as on Grafana's grid."""

    def __init__(self) -> None:
        self.height = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in DASHBOARD["panels"])
        self._pixels = self.height * ROW_PIXELS + GAP_PIXELS
        size = ((WIDTH + GAP_PIXELS) / DPI, self._pixels / DPI)
        self.figure = Figure(figsize=size, dpi=DPI, facecolor=BACKGROUND)

    def axes(self, at: Mapping[str, int], inset: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Axes:
        """The place of a panel, less *inset* pixels at its left, top, right and bottom."""
        left, top, right, bottom = inset
        x = at["x"] * COLUMN_PIXELS + GAP_PIXELS + left
        y = at["y"] * ROW_PIXELS + GAP_PIXELS + top
        width = at["w"] * COLUMN_PIXELS - GAP_PIXELS - left - right
        height = at["h"] * ROW_PIXELS - GAP_PIXELS - top - bottom
        whole = WIDTH + GAP_PIXELS
        return self.figure.add_axes(
            (x / whole, 1 - (y + height) / self._pixels, width / whole, height / self._pixels)
        )

    def frame(self, panel: Mapping[str, Any], color: str = PANEL) -> Axes:
        """A panel's paper, with its title."""
        axes = self.axes(panel["gridPos"])
        axes.set_axis_off()
        axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor=color, edgecolor=EDGE))
        ink = TEXT if color == PANEL else "#ffffff"
        axes.annotate(
            panel["title"], (0, 1), (8, -7), "axes fraction", "offset points",
            va="top", ha="left", weight="bold", color=ink,
        )  # fmt: skip
        return axes

    def row(self, panel: Mapping[str, Any]) -> None:
        """The heading of a row."""
        axes = self.axes(panel["gridPos"])
        axes.set_axis_off()
        axes.text(0, 0.5, f"⌄  {panel['title']}", va="center", fontsize=10, weight="bold")

    def stat(self, panel: Mapping[str, Any], values: Sequence[tuple[str, float]]) -> None:
        """One value, or a few, with the colour that says whether it is well."""
        defaults = panel["fieldConfig"]["defaults"]
        value = max((value for _, value in values), default=0.0)
        color = NAMED["green"]
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is None or value >= step["value"]:
                color = NAMED[step["color"]]
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] in [name for name, _ in values]:
                color = NAMED[override["properties"][0]["value"]["fixedColor"]]
        axes = self.frame(panel, color)
        for place, (name, each) in enumerate(values):
            middle = (place + 0.5) / len(values)
            axes.text(middle, 0.52, name, ha="center", fontsize=9, color="#ffffff")
            axes.text(
                middle,
                0.16,
                shown(each, defaults["unit"]),
                ha="center",
                fontsize=17,
                weight="bold",
                color="#ffffff",
            )

    def series(
        self, panel: Mapping[str, Any], lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    ) -> None:
        """Lines over time."""
        self.frame(panel)
        axes = self.axes(panel["gridPos"], (62, 30, 14, 62))
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for number, (name, points) in enumerate(lines):
            there = [(datetime.fromtimestamp(at, UTC), value) for at, value in _with_gaps(points)]
            color = COLORS[number % len(COLORS)]
            moments, values = [at for at, _ in there], [value for _, value in there]
            axes.plot(moments, values, color=color, linewidth=1.2, label=name)  # type: ignore[arg-type]
            axes.fill_between(moments, values, color=color, alpha=0.08)  # type: ignore[arg-type]
        lowest, highest = axes.get_ylim()
        axes.set_ylim(
            min(lowest, 0) if "min" not in panel["fieldConfig"]["defaults"] else 0, max(highest, 1e-9)
        )
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=unit == "short" and highest > 4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit)))
        axes.xaxis.set_major_locator(MaxNLocator(5, prune="both"))
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
        axes.tick_params(colors=FAINT, length=0, pad=5)
        axes.grid(color=EDGE, linewidth=0.6)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.13, -0.1), ncols=3, frameon=False, fontsize=7.5,
            handlelength=1.2, columnspacing=1.2, labelspacing=0.3,
        )  # fmt: skip


async def _series(
    prometheus: Prometheus, target: Mapping[str, Any], start: float, end: float
) -> list[Series]:
    return await prometheus.over(filled(target["expr"], INTERVAL), start, end, SCRAPE_SECONDS)


async def draw(prometheus: Prometheus, start: float, end: float, path: Path) -> None:
    """Draw the dashboard of the time between two moments."""
    with mpl.rc_context(STYLE):
        canvas = Canvas()
        for panel in DASHBOARD["panels"]:
            if panel["type"] == "row":
                canvas.row(panel)
                continue
            lines = [
                (named(target["legendFormat"], labels), points)
                for target in panel["targets"]
                for labels, points in await _series(prometheus, target, start, end)
            ]
            if panel["type"] == "stat":
                # As Grafana does for a panel of one moment: what is there at the end.
                canvas.stat(
                    panel,
                    [
                        (name, points[-1][1])
                        for name, points in lines
                        if points[-1][0] >= end - SCRAPE_SECONDS
                    ],
                )
            else:
                canvas.series(panel, lines)
        drawn = io.BytesIO()
        canvas.figure.savefig(drawn, format="png")
    # Lines and letters need few colours, and a page loads the picture.
    image = Image.open(drawn).convert("RGB")
    image.quantize(COLORS_MAX, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


async def observe(dsn: str, folder: Path, seconds: float, path: Path) -> None:
    """Keep a cluster on that database busy for so long, and draw what Prometheus saw."""
    async with observed(dsn, folder, SCRAPE_SECONDS) as cluster:
        start = datetime.now(UTC).timestamp()
        await keep_busy(dsn, cluster, seconds)
        await draw(cluster.prometheus, start, datetime.now(UTC).timestamp(), path)


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=300, help="how long the cluster is busy (%(default)g)"
    )
    parser.add_argument("--to", type=Path, default=PICTURE, help="the file")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="progress-") as folder,
        embedded_postgres(Path(folder) / "postgres") as server,
        database_with_schema(server) as template,
        database(server, template=template) as dsn,
    ):
        anyio.run(observe, dsn, Path(folder), given.seconds, given.to)


if __name__ == "__main__":
    main()
