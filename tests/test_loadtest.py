"""The measuring programs still measure: small runs, whose answers are checked and whose speed is not."""

import subprocess
import sys

import pytest

JOBS = ["jobs", "--jobs", "300", "--sizes", "20", "40", "--changes", "10", "--runs", "1"]
WRITERS = ["writers", "--writers", "2", "--seconds", "1", "--runs", "1"]
SLOW = ["slow", "--stalled", "20", "--readers", "3", "--frames", "20", "--runs", "1", "--drain-seconds", "0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["advance", "--calls", "20000", "--runs", "1"], "most UPDATEs in any one second"),
        (["board", "--jobs", "200", "--facts", "2000", "--runs", "1"], "apply, 200 jobs"),
        (
            ["fanout", "--streams", "30", "--seconds", "0.1", "--runs", "1", "--peers", "plain"],
            "ours / plain: memory",
        ),
        (["ready", "--times", "3"], "commit to frame"),
        (["drain", "--streams", "150", "--seconds", "1"], "from SIGTERM to the last end"),
        (SLOW, "descriptors free"),
        (JOBS, "a flush, 40 jobs / 20 jobs"),
        (WRITERS, "2 writers: wal / bare"),
        (["renew", "--streams", "3", "--seconds", "3", "--token-seconds", "31"], "renewals of each"),
        (["chaos", "--faults", "11", "--browsers", "20"], "foreign rows"),
    ],
)
def test_a_program_of_the_readme_runs_and_checks_its_answer(arguments: list[str], said: str) -> None:
    """A figure that nobody can repeat is worth nothing; a wrong answer ends a program with an error."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_the_programs_are_listed() -> None:
    """Who looks for a figure finds the program that measures it."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", "--help"], capture_output=True, text=True, check=True
    )
    for name in ("advance", "board", "drain", "fanout", "jobs", "ready", "renew", "slow", "writers"):
        assert f"python -m loadtest {name}" in done.stdout
