"""The measuring programs still measure: small runs, whose answers are checked and whose speed is not."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = ["jobs", "--jobs", "300", "--sizes", "20", "40", "--changes", "10", "--runs", "1"]
WRITERS = ["writers", "--writers", "2", "--seconds", "1", "--runs", "1"]
FEW = ["--users", "20", "--writers", "2", "--seconds", "3", "--runs", "1", "--peers", "ours-wal", "plain"]
UNWATCHED = [
    "unwatched",
    "--users",
    "100",
    "--watched",
    "20",
    "--rate",
    "100",
    "--seconds",
    "2",
    "--runs",
    "1",
]
FRONTIER = ["frontier", "--pauses", "0", "6", "--rates", "40", "--users", "20", "--writers", "2"]
SOAK = ["soak", "--minutes", "0.05", "--users", "20", "--going", "3", "--at-work", "8", "--rate", "100"]
STREAMS = ["streams", "--streams", "110", "120", "--runs", "1", "--peers", "plain"]
CLUSTER = ["cluster", "--users", "20", "--rate", "40", "--seconds", "2", "--others", "0", "30"]
ROLLING = ["rolling", "--streams", "40", "--edges", "2", "--drain", "1", "--at-work", "20"]
SLOW = ["slow", "--stalled", "20", "--readers", "3", "--frames", "20", "--runs", "1", "--drain-seconds", "0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["estimate", "--runs", "1"], "rich: error on the worst kind"),
        (["advance", "--calls", "20000", "--runs", "1"], "most UPDATEs in any one second"),
        (["reducer", "--jobs", "200", "--events", "2000", "--runs", "1"], "apply, 200 jobs"),
        (
            ["fanout", "--streams", "30", "--seconds", "0.1", "--runs", "1", "--peers", "plain"],
            "ours / plain: memory",
        ),
        (["ready", "--times", "3"], "commit to frame"),
        (["drain", "--streams", "150", "--seconds", "1"], "from SIGTERM to the last end"),
        (SLOW, "descriptors free"),
        (JOBS, "a flush, 40 jobs / 20 jobs"),
        (WRITERS, "2 writers: wal / bare"),
        (["users", "--rate", "40", *FEW], "ours / plain: CPU"),
        (STREAMS, "ours / plain: memory of a stream"),
        (["storm", "--streams", "40", "--runs", "1", "--peers"], "ours, 2 workers: cut off, until all"),
        (SOAK, "ours: descriptors lost"),
        (["renew", "--streams", "3", "--seconds", "3", "--token-seconds", "31"], "renewals of each"),
        ([*CLUSTER, "--changes", "60", "--runs", "1"], "edge / single node: CPU for each frame"),
        (["bulk", "--users", "30", "--rounds", "2", "--runs", "1", "--peers", "plain"], "ours / plain: CPU"),
        (UNWATCHED, "ours: service CPU, B / A"),
        (["update-cost", "--updates", "50", "--runs", "1"], "notify / row: CPU for one UPDATE"),
        (FRONTIER, "ours, 6 ms / plain: 40/s, service CPU for each change"),
        (["chaos", "--faults", "12", "--browsers", "20"], "foreign rows"),
        (["outages", "--faults", "9", "--browsers", "20"], "foreign rows"),
    ],
)
def test_a_program_runs_and_leaves_a_report(arguments: list[str], said: str, tmp_path: Path) -> None:
    """A figure that nobody can repeat is worth nothing; a wrong answer ends a program with an error."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments, "--report", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert any(said in figure["name"] for figure in report["figures"])
    assert report["command"] == shlex.join(["python", "-m", "loadtest", *arguments])
    page = (tmp_path / "report.md").read_text()
    for name in ("figures", *(plot["name"] for plot in report["plots"])):
        assert f"({name}.svg)" in page
        assert (tmp_path / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_who_asks_the_database_for_each_stream_is_found_out(tmp_path: Path) -> None:
    """A storm that is only handed on to the database must not look like one that was weathered."""
    count = 40
    command = ["storm", "--streams", str(count), "--runs", "1", "--workers", "1", "--peers", "plain"]
    subprocess.run(
        [sys.executable, "-m", "loadtest", *command, "--report", str(tmp_path)],
        capture_output=True,
        check=True,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    asked = {each["name"]: each["median"] for each in report["figures"] if "snapshots asked" in each["name"]}
    assert asked == {
        "ours: cut off, snapshots asked of the database": 0,
        "ours: started anew, snapshots asked of the database": 1,
        "plain: cut off, snapshots asked of the database": count,
        "plain: started anew, snapshots asked of the database": count,
    }


def test_an_end_that_nobody_saw_is_found_out(tmp_path: Path) -> None:
    """Finished jobs that do not stay on the board are gone before a browser can be back."""
    command = [*ROLLING, "--linger", "0", "--rate", "200", "--report", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    (lost,) = [each["median"] for each in report["figures"] if each["name"] == "ends that were not seen"]
    assert lost > 0
    assert "was not told that" in report["notes"][0]


def test_the_programs_are_listed() -> None:
    """Who looks for a figure finds the program that measures it."""
    done = subprocess.run([sys.executable, "-m", "loadtest"], capture_output=True, text=True, check=True)
    for name in (
        "advance",
        "bulk",
        "cluster",
        "fanout",
        "jobs",
        "frontier",
        "latency",
        "reducer",
        "rolling",
        "soak",
        "storm",
        "streams",
        "unwatched",
        "update-cost",
        "users",
    ):
        assert f"│{name} " in done.stdout
