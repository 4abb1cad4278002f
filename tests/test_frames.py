"""What is written into an event stream is what a page reads from it, whatever stands in a row."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sse_starlette import ServerSentEvent

from progress_service.core.aggregates import Totals, recount
from progress_service.core.estimate import Estimate
from progress_service.core.events import FeedState
from progress_service.core.model import Job, Progress, Request, Status
from progress_service.core.reducer import RemovalReason
from progress_service.wire import frames
from progress_service.wire.views import CompactView, SnapshotView, job_view, totals_view
from tests.event_stream import Event, EventStreamReader, events_in
from tests.strategies import BIRTH, job, jobs

# Everything that means something to a reader of event streams, or looks as if it did.
HOSTILE = [
    *(
        "\r",
        "\n",
        "\r\n",
        "\n\n",
        "\0",
        "\u2028",
        "\u2029",
        "\u0085",
        "\ufeff",
        "\x0b",
        "\x0c",
        "\x1b",
        "\u202e",
    ),
    *(
        "id: 6",
        "data: {}",
        "event: bye",
        "retry: 1",
        ": comment",
        '"',
        "\\",
        "\\u000a",
        "</script>",
        "\U0001f4a5",
    ),
]
texts = st.lists(st.sampled_from(HOSTILE) | st.text()).map("".join)
json_texts = st.recursive(
    texts | st.integers(-(2**53), 2**53) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
COUNTS = ("total", "completed", "failed", "current_batch")


@st.composite
def hostile_jobs(draw: st.DrawFn) -> Job:
    """Jobs whose every text is out to break the stream."""
    more = draw(
        st.none() | st.dictionaries(texts.filter(lambda key: key not in COUNTS), json_texts, max_size=4)
    )
    return Job(
        id=draw(texts),
        user_id=draw(texts),
        status=draw(st.sampled_from(Status)),
        revision=draw(st.integers(0, 2**63 - 1)),
        created_at=BIRTH,
        updated_at=BIRTH,
        progress=Progress(12, 7, 1, 2, more),
        label=draw(st.none() | texts),
        requested=draw(st.none() | st.sampled_from(Request)),
        error=draw(st.none() | texts),
        started_at=draw(st.none() | st.just(BIRTH)),
        finished_at=draw(st.none() | st.just(BIRTH)),
    )


def expected(row: Job) -> dict[str, Any]:
    """The view of a job as DESIGN gives it, written down once more and by hand."""
    born = "2024-02-29T12:00:00Z"
    return {
        "id": row.id,
        "label": row.label,
        "status": str(row.status),
        "requested": row.requested and str(row.requested),
        "progress": {
            "total": 12,
            "completed": 7,
            "failed": 1,
            "current_batch": 2,
            **(row.progress.more or {}),
        },
        "percentage": 58,
        "rate": None,
        "eta_seconds": None,
        "eta_range": None,
        "stalled": False,
        "error": row.error,
        "created_at": born,
        "started_at": row.started_at and born,
        "updated_at": born,
        "finished_at": row.finished_at and born,
        "revision": row.revision,
    }


def expected_totals(totals: Totals) -> dict[str, Any]:
    """The view of the sums, likewise."""
    return {
        "active": totals.active,
        "total": totals.total,
        "completed": totals.completed,
        "failed": totals.failed,
        "percentage": totals.percentage,
        "eta_seconds": None,
    }


@given(hostile_jobs())
def test_a_job_is_read_as_it_was_written(row: Job) -> None:
    """A text that could end its field could forge events on the pages of whoever watches the job."""
    (event,) = events_in(frames.job_event(job_view(row)))
    assert event.type == "job"
    assert event.json() == expected(row)


@given(hostile_jobs())
def test_no_raw_control_character_is_sent(row: Job) -> None:
    """Old proxies and curl in a terminal see the bytes as they are."""
    frame = frames.job_event(job_view(row))
    assert not {byte for byte in frame if byte < 0x20} - {ord("\n")}
    assert frame.count(b"\n") == 3


@given(st.lists(hostile_jobs(), max_size=3), st.lists(texts, max_size=3))
def test_a_flush_is_read_as_its_events(changed: list[Job], gone: list[str]) -> None:
    """One frame holds the events of a flush in their order, and its last event carries the id."""
    totals = recount(changed)
    frame = frames.flush(
        [
            *(frames.job_event(job_view(row)) for row in changed),
            *(frames.removed_event(job_id, RemovalReason.EVICTED) for job_id in gone),
            frames.totals_event(totals_view(totals), "e1-17"),
        ]
    )
    reader = EventStreamReader()
    events = reader.feed(frame)
    assert [event.type for event in events] == ["job"] * len(changed) + ["removed"] * len(gone) + ["totals"]
    assert [event.json() for event in events] == [
        *map(expected, changed),
        *({"id": job_id, "reason": "evicted"} for job_id in gone),
        expected_totals(totals),
    ]
    assert reader.last_event_id == "e1-17"
    assert all(event.last_event_id == "" for event in events[:-1])


@given(st.lists(hostile_jobs(), max_size=3), st.sampled_from(FeedState))
def test_a_snapshot_is_read_as_it_was_written(shown: list[Job], state: FeedState) -> None:
    """It is the first event of every stream, and the answer of `GET /v1/jobs`."""
    totals = recount(shown)
    snapshot = SnapshotView([*map(job_view, shown)], totals_view(totals), state, BIRTH)
    (event,) = events_in(frames.snapshot_event(snapshot, "e1-18"))
    assert (event.type, event.last_event_id) == ("snapshot", "e1-18")
    assert event.json() == {
        "jobs": [expected(row) for row in shown],
        "totals": expected_totals(totals),
        "feed": str(state),
        "now": "2024-02-29T12:00:00Z",
    }
    assert json.loads(frames.json_text(snapshot)) == event.json()


@given(st.none() | hostile_jobs(), st.lists(jobs()).map(recount))
def test_a_compact_event_is_read_as_it_was_written(row: Job | None, totals: Totals) -> None:
    """It is complete each time; without any job it says so."""
    compact = CompactView(job_view(row) if row else None, totals.active, totals_view(totals))
    (event,) = events_in(frames.compact_event(compact, "e1-19"))
    assert (event.type, event.last_event_id) == ("compact", "e1-19")
    assert event.json() == {
        "job": row and expected(row),
        "active": totals.active,
        "totals": expected_totals(totals),
    }


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (frames.removed_event("a", RemovalReason.DELETED), Event("removed", '{"id":"a","reason":"deleted"}')),
        (
            frames.feed_event(FeedState.LOST, datetime(2024, 2, 29, 12, 0, 0, 250_000, UTC)),
            Event("feed", '{"state":"lost","since":"2024-02-29T12:00:00.250000Z"}'),
        ),
        (
            frames.expiring_event(BIRTH, "s-1"),
            Event("expiring", '{"at":"2024-02-29T12:00:00Z","stream":"s-1"}'),
        ),
        (frames.expired_event(BIRTH), Event("expired", '{"at":"2024-02-29T12:00:00Z"}')),
        (frames.bye_event("drain", 2500), Event("bye", '{"reason":"drain","retry_ms":2500}', retry_ms=2500)),
    ],
    ids=lambda value: value.type if isinstance(value, Event) else "",
)
def test_the_small_events(frame: bytes, event: Event) -> None:
    """Pages are written against these very names."""
    assert events_in(frame) == [event]


def test_a_keep_alive_says_nothing() -> None:
    """It must reach every proxy on the way, and no listener; nor may it end an event or touch the id."""
    reader = EventStreamReader()
    reader.feed(frames.totals_event(totals_view(Totals()), "e1-20"))
    assert reader.feed(frames.KEEP_ALIVE) == []
    assert (reader.comments, reader.last_event_id) == (1, "e1-20")


def test_sums_beyond_what_one_job_can_count() -> None:
    """Each count stops at 2**53 - 1, but a user may have thousands of such jobs."""
    most = job(progress=Progress(2**53 - 1, 2**53 - 1))
    (event,) = events_in(frames.totals_event(totals_view(recount([most] * 4_000)), "e1-21"))
    assert event.json()["total"] == 4_000 * (2**53 - 1)
    assert event.json()["percentage"] == 100


def test_counts_win_over_what_a_worker_wrote_beside_them() -> None:
    """The counts come first, and in this order: people read streams with curl."""
    row = job(progress=Progress(4, 2, 1, 3, {"source": "contacts.csv"}))
    (event,) = events_in(frames.job_event(job_view(row)))
    assert list(event.json()["progress"]) == ["total", "completed", "failed", "current_batch", "source"]


def test_an_estimate_is_told_in_numbers_that_people_can_read() -> None:
    """Sixteen digits of a time left would be sent ten times a second, and mean nothing."""
    told = Estimate(rate=0.123456789, eta_seconds=61.26, eta_range=(40.04, 100.0), stalled=True)
    (event,) = events_in(frames.job_event(job_view(job(), told)))
    view = event.json()
    assert (view["rate"], view["eta_seconds"], view["eta_range"]) == (0.1235, 61.3, [40.0, 100.0])
    assert view["stalled"] is True
    (event,) = events_in(frames.totals_event(totals_view(Totals(), 61.26), "e1-22"))
    assert event.json()["eta_seconds"] == 61.3


@given(texts, st.none() | st.sampled_from(["epoch-1"]))
def test_an_event_is_written_as_sse_starlette_would(text: str, event_id: str | None) -> None:
    """We write the fields ourselves, for speed: what the library splits and escapes cannot be in our JSON."""
    if event_id is None:
        ours = frames.removed_event(text, RemovalReason.DELETED)
        theirs = ServerSentEvent(frames.data_of(ours).decode(), event="removed", sep="\n")
    else:
        ours = frames.totals_event(totals_view(Totals()), event_id)
        theirs = ServerSentEvent(frames.data_of(ours).decode(), event="totals", id=event_id, sep="\n")
    assert ours == theirs.encode()
