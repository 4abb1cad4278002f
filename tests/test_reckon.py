"""What a million streams need is multiplied rightly from what was measured."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.reckon import Costs, costs, main, reckoned

COST = Costs(
    edge_frame=100e-6,
    edge_bytes=50e6,
    stream_bytes=10_000,
    relay_own=100e-6,
    relay_foreign=10e-6,
    relay_bytes=50e6,
    job_bytes=1_000,
    nats_change=10e-6,
    message_bytes=500,
)


def asked(**more: Any) -> Namespace:
    """A question: of a million streams, and of few changes unless *more* says so."""
    usual = {"streams": 1_000_000, "jobs": 1_000_000, "changes": 1_000, "busy": 0.5}
    return Namespace(**{**usual, "streams_each": 20_000, "database": 1_000_000, **more})


def test_a_relay_that_would_be_too_busy_is_divided() -> None:
    """One relay takes 5,000 changes a second here; for 20,000 there have to be shards of one database."""
    one = reckoned(COST, asked(changes=5_000))
    assert (one.databases, one.shards) == (1, 1)
    assert one.relay_busy == pytest.approx(0.5)
    more = reckoned(COST, asked(changes=20_000))
    # 0.2 of a core for what all of them hear, and 1.8 that is divided: by six, to come below 0.5.
    assert (more.databases, more.shards) == (1, 6)
    assert more.relay_busy == pytest.approx(0.5)


def test_what_no_number_of_shards_can_carry_is_divided_among_databases() -> None:
    """Every relay hears everything of its database, so at 10 µs it could do nothing else."""
    need = reckoned(COST, asked(changes=99_000))
    assert need.databases == 4
    assert need.relay_busy <= 0.5
    slow = reckoned(COST, asked(changes=100_000, database=5_000))
    assert (slow.databases, slow.shards) == (20, 1)


def test_edges_are_as_many_as_streams_or_frames_call_for() -> None:
    """Idle streams take memory, and busy ones the processor."""
    idle, busy = reckoned(COST, asked()), reckoned(COST, asked(changes=1_000_000))
    assert (idle.edges, busy.edges) == (50, 200)
    assert idle.edge_gib == pytest.approx((50 * 50e6 + 1e10) / 2**30)
    assert reckoned(replace(COST, nats_change=20e-6), asked()).nats_cores == pytest.approx(0.02)


def test_costs_are_those_beside_the_most_jobs_of_others() -> None:
    """A report has each figure beside few and beside many; what is dearer counts."""
    medians = {
        "relay, memory of a job that nobody watches": 900.0,
        "edge: CPU for each delivered frame": 80.0,
    }
    for count, dear in (("0", 1.0), ("5,000", 2.0)):
        beside = f"beside {count} jobs of others"
        for name in ("edge", "relay", "relay of shard 1/64"):
            medians[f"{name}: memory, {beside}"] = 50.0
            medians[f"{name}: CPU for a change that nobody watches, {beside}"] = 10 * dear
        for name in ("edge", "relay", "NATS"):
            medians[f"{name}: CPU for a change that is watched, {beside}"] = 100 * dear
        medians[f"edge: memory of a stream, {beside}"] = 10_000
        medians[f"NATS: bytes for a watched change, {beside}"] = 600
    found = costs(medians)
    assert found.relay_own == pytest.approx(200e-6)
    assert found.relay_foreign == pytest.approx(20e-6)
    assert found.edge_frame == pytest.approx(80e-6)
    with pytest.raises(ValueError, match="the report has no 'edge: CPU for each delivered frame'"):
        costs({})


def test_without_a_report_it_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures out of nowhere would be worse than none."""
    assert main(["--measured", str(tmp_path / "none.json")]) == 2
    assert "run python -m loadtest cluster first" in capsys.readouterr().err
