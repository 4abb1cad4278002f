"""Rows as PostgreSQL tells them: a good one becomes a fact, a bad one a reason, and none an exception."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from progress_service.core.events import JobReported
from progress_service.core.model import Instant, Job, Progress, Request, Status
from progress_service.wire import frames
from progress_service.wire.progress import COUNT_MAX
from progress_service.wire.rows import MalformedRow, job_reported, jobs_reported
from progress_service.wire.views import job_view
from tests.texts import ID, ROW, json_values, written

NOW = Instant(7.0)
moments = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis adds the time zone.
    datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


def test_a_row_becomes_a_report() -> None:
    """Every column has its place; keys that a worker wrote beside the counts are kept."""
    born = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert job_reported(written(), NOW) == JobReported(
        Job(
            id=ID,
            user_id="8a4f1f0e-6c5e-4f5e-8a52-2d3c1b0a9f22",
            status=Status.RUNNING,
            revision=41,
            created_at=born + timedelta(seconds=0.25),
            updated_at=born + timedelta(seconds=9),
            progress=Progress(12, 7, 1, 2, {"source": "contacts.csv"}),
            label="spring fair",
            requested=Request.PAUSE,
            started_at=born + timedelta(seconds=1),
        ),
        NOW,
    )


def test_nulls_may_be_left_out() -> None:
    """`json_strip_nulls` makes payloads shorter; a missing key and a null are the same."""
    short = {key: value for key, value in ROW.items() if value is not None}
    assert job_reported(json.dumps(short), NOW) == job_reported(written(), NOW)


@given(
    created=moments,
    age=st.none() | st.floats(0, 1e9),
    label=st.none() | st.text(),
    status=st.sampled_from(Status),
)
def test_what_is_written_is_read(
    created: datetime, age: float | None, label: str | None, status: Status
) -> None:
    """Any date in any zone, any text of any script."""
    row = written(created_at=created.isoformat(), finished_seconds=age, label=label, status=status)
    fact = job_reported(row, NOW)
    assert isinstance(fact, JobReported)
    assert (fact.job.created_at, fact.job.created_at.tzinfo) == (created, UTC)
    assert (fact.finished_seconds, fact.job.label, fact.job.status) == (age, label, status)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_dates_do_not_depend_on_where_the_service_runs(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date without an offset means another moment on each machine, so it is no date at all."""
    monkeypatch.setenv("TZ", zone)
    assert isinstance(job_reported(written(created_at="2024-02-29T12:00:00"), NOW), MalformedRow)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"status": "dancing"}, "status"),
        ({"status": None}, "status"),
        ({"requested": "sing"}, "requested"),
        ({"user_id": None}, "user_id"),
        ({"revision": "41"}, "revision"),
        ({"revision": 4.5}, "revision"),
        ({"label": 5}, "label"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "infinity"}, "created_at"),
        ({"created_at": "0044-03-15T00:00:00+00:00 BC"}, "created_at"),
        ({"created_at": "10000-01-01T00:00:00+00:00"}, "created_at"),
        ({"created_at": 1709208000}, "created_at"),
        ({"finished_seconds": "5"}, "finished_seconds"),
        ({"progress": None}, "progress"),
        ({"progress": []}, "progress"),
        ({"progress": {"total": -1}}, "progress.total"),
        ({"progress": {"total": 0.5}}, "progress.total"),
        ({"progress": {"total": True}}, "progress.total"),
        ({"progress": {"total": None}}, "progress.total"),
        ({"progress": {"completed": "7"}}, "progress.completed"),
        ({"progress": {"failed": COUNT_MAX + 1}}, "progress.failed"),
        ({"progress": {"failed": 1e300}}, "progress.failed"),
        ({"progress": {"current_batch": []}}, "progress.current_batch"),
        ({"progress": {"total": 9, "completed": 7, "failed": 3}}, "total 9"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    """An operator must find the row, and what is wrong with it, from one line in the log."""
    row = job_reported(written(**fields), NOW)
    assert isinstance(row, MalformedRow)
    assert row.id == ID
    assert named in row.reason


@pytest.mark.parametrize(
    "column", ["id", "user_id", "status", "revision", "created_at", "updated_at", "progress"]
)
def test_a_missing_column_is_named(column: str) -> None:
    """An older schema, or a view in the table's place, lacks columns."""
    row = job_reported(json.dumps({key: value for key, value in ROW.items() if key != column}), NOW)
    assert isinstance(row, MalformedRow)
    assert column in row.reason
    assert row.id == ("unknown" if column == "id" else ID)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "7", "{", '{"id": 5}', '{"id": "\\ud800"}', "\ud800", "\0"]
)
def test_what_is_not_a_row_at_all(text: str) -> None:
    """Whatever stands in the place of a row, it cannot stop the rows around it."""
    row = job_reported(text, NOW)
    assert isinstance(row, MalformedRow)
    assert row.id == "unknown"
    assert row.reason


@pytest.mark.parametrize(
    "more",
    [{"total": 3.0}, {"total": 3, "completed": 3}, {"completed": 9}, {"total": 3, "current_batch": None}, {}],
)
def test_odd_but_good_counts(more: dict[str, Any]) -> None:
    """JavaScript may write 3.0, older programs no batch; and nothing exceeds a total that is unknown."""
    fact = job_reported(written(progress=more), NOW)
    assert isinstance(fact, JobReported)
    assert fact.job.progress == Progress(int(more.get("total", 0)), more.get("completed", 0))
    assert type(fact.job.progress.total) is int


@pytest.mark.parametrize("text", [r"\ud800", r"\udfff", r"\ud800x", r"\udc00\ud800"])
def test_lone_surrogates_do_not_get_in(text: str) -> None:
    """They are no characters (Unicode standard, 3.8) and cannot be written as UTF-8 again."""
    row = written(label="LABEL").replace(b"LABEL", text.encode())
    assert isinstance(job_reported(row, NOW), MalformedRow)


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("column", ["created_at", "updated_at", "started_at", "finished_at"])
def test_dates_at_the_ends_of_time(column: str, date: str) -> None:
    """A user may write `created_at`; one date that has no place in UTC must not stop everyone's feed."""
    row = job_reported(written(**{column: date}), NOW)
    assert isinstance(row, MalformedRow)
    assert row.id == ID


def nested(depth: int) -> bytes:
    """A row with lists in lists in its progress. PostgreSQL's own limit is several thousand."""
    return written(progress={"more": 0}).replace(b'"more": 0', b'"more": ' + b"[" * depth + b"]" * depth)


@pytest.mark.parametrize("depth", [1_200, 3_000, 100_000])
def test_deep_nesting_is_malformed(depth: int) -> None:
    """One user's strange progress must not stop everyone's feed with a RecursionError."""
    row = job_reported(nested(depth), NOW)
    assert isinstance(row, MalformedRow)
    assert row.reason


@pytest.mark.parametrize("depth", [1, 10, 100, 500, 900, 980])
def test_what_was_read_can_be_written(depth: int) -> None:
    """It is written deeper in the program than it was read, where the interpreter has less depth left."""
    fact = job_reported(nested(depth), NOW)
    if isinstance(fact, JobReported):
        assert from_below(100, fact.job).startswith(b"event: job\n")


def from_below(calls: int, job: Job) -> bytes:
    """The job's event, encoded that many calls further down."""
    return from_below(calls - 1, job) if calls else frames.job_event(job_view(job))


@given(json_values)
def test_any_json_is_a_fact_or_a_reason(value: Any) -> None:
    """There is no third outcome: an exception here would cut everyone's stream."""
    assert isinstance(job_reported(json.dumps(value), NOW), JobReported | MalformedRow)


@given(st.dictionaries(st.sampled_from([*ROW]), json_values, min_size=1, max_size=3))
def test_any_value_in_any_column(fields: dict[str, Any]) -> None:
    """As above, nearer to a good row; and what is taken for one can be shown."""
    fact = job_reported(written(**fields), NOW)
    if isinstance(fact, JobReported):
        assert frames.job_event(job_view(fact.job))
    else:
        assert fact.reason


@given(st.binary() | st.binary().map(lambda cut: written()[: len(cut)] + cut))
def test_any_bytes(row: bytes) -> None:
    """Not even JSON, or JSON that breaks off."""
    assert isinstance(job_reported(row, NOW), MalformedRow)


def test_bad_rows_do_not_spoil_the_good_ones() -> None:
    """One malformed row is left out; everyone else's stream goes on."""
    reports, malformed = jobs_reported([written(), written(status="dancing"), written(revision=42)], NOW)
    assert [report.job.revision for report in reports] == [41, 42]
    assert [row.id for row in malformed] == [ID]


def test_a_report_is_dated_by_its_listener() -> None:
    """`at` is the instant of hearing, whatever dates the row carries."""
    fact = job_reported(written(), NOW)
    assert isinstance(fact, JobReported)
    assert job_reported(written(), Instant(8.0)) == replace(fact, at=Instant(8.0))
