"""Row decoding: a good record becomes an event, a malformed one a reason, and no record an exception."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.core.events import JobUpserted
from progress_service.core.model import Instant, Job, Progress, Request, Status
from progress_service.wire import frames
from progress_service.wire.rows import COLUMNS, COUNT_MAX, NESTING_MAX, MalformedRow, decode_row
from progress_service.wire.views import job_view
from tests.row_records import COLUMN_VALUES, ID, RECORD, USER_ID, record, zones

NOW = Instant(7.0)


def decoded(**columns: Any) -> JobUpserted:
    """The event of a good record with some columns changed."""
    event = decode_row(record(**columns), NOW)
    assert isinstance(event, JobUpserted), event
    return event


def test_every_column_has_its_place() -> None:
    """The job has each value of the record, the keys beside the counts, and the instants of read and hint."""
    born = datetime(2024, 2, 29, 12, tzinfo=UTC)
    event = decode_row(record(error="no such file", finished_age_seconds=0.5), NOW, Instant(6.5))
    assert event == JobUpserted(
        Job(
            id=ID,
            user_id=USER_ID,
            status=Status.RUNNING,
            revision=41,
            created_at=born + timedelta(seconds=0.25),
            updated_at=born + timedelta(seconds=9),
            progress=Progress(12, 7, 1, 2, {"source": "contacts.csv"}),
            label="spring fair",
            requested=Request.PAUSE,
            error="no such file",
            started_at=born + timedelta(seconds=1),
        ),
        NOW,
        finished_age_seconds=0.5,
        hinted_at=Instant(6.5),
    )
    assert decode_row([*record(), "a column more"], NOW) == decoded()


def test_the_query_selects_the_columns_in_the_order_of_a_record() -> None:
    """The names in `COLUMNS` are those of the records here, in the same order."""
    columns = re.split(r",(?![^(]*\))", COLUMNS)
    assert [re.findall(r"\w+", column.replace("::text", ""))[-1] for column in columns] == [*RECORD]


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones))  # noqa: DTZ001
def test_dates_are_in_utc(date: datetime) -> None:
    """A date in any zone becomes the same moment in UTC."""
    job = decoded(created_at=date, finished_at=date).job
    assert (job.created_at, job.created_at.tzinfo) == (date, UTC)
    assert (job.finished_at, job.finished_at and job.finished_at.tzinfo) == (date, UTC)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ({}, Progress()),
        ({"total": 3.0}, Progress(3)),
        ({"total": 3, "completed": 3}, Progress(3, 3)),
        ({"completed": 9, "failed": 2}, Progress(0, 9, 2)),
        ({"total": 3, "current_batch": None}, Progress(3)),
        ({"total": COUNT_MAX, "failed": COUNT_MAX}, Progress(COUNT_MAX, 0, COUNT_MAX)),
        ({"total": 3, "unit": "files"}, Progress(3, more={"unit": "files"})),
    ],
)
def test_counts_may_be_left_out_or_written_as_floats(progress: object, expected: Progress) -> None:
    """A missing count is 0, 3.0 is 3, and an unknown total bounds nothing."""
    found = decoded(progress=json.dumps(progress)).job.progress
    assert found == expected
    assert type(found.total) is int


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"status": "dancing"}, "'dancing' is not a valid Status"),
        ({"status": None}, "None is not a valid Status"),
        ({"requested": "sing"}, "'sing' is not a valid Request"),
        ({"user_id": None}, "user_id is null"),
        ({"revision": None}, "too long as text, or a date is not in the years 1 to 9999"),
        ({"created_at": None}, "created_at is null"),
        ({"updated_at": None}, "updated_at is null"),
        ({"progress": None}, "progress is null"),
        ({"progress": "[]"}, "Expected `object`"),
        ({"progress": "{"}, "truncated"),
        ({"progress": '{"total": -1}'}, "progress.total is -1"),
        ({"progress": '{"total": 0.5}'}, "progress.total is 0.5"),
        ({"progress": '{"total": true}'}, "progress.total is True"),
        ({"progress": '{"total": null}'}, "progress.total is None"),
        ({"progress": '{"completed": "7"}'}, "progress.completed is '7'"),
        ({"progress": '{"failed": 9007199254740992}'}, "progress.failed is 9007199254740992"),
        ({"progress": '{"failed": 1e300}'}, "progress.failed is 1e+300"),
        ({"progress": '{"note": 1e400}'}, "out of range"),
        ({"progress": '{"current_batch": []}'}, "progress.current_batch is []"),
        ({"progress": '{"total": 9, "completed": 7, "failed": 3}'}, "more than the total 9"),
    ],
)
def test_a_malformed_row_has_its_id_and_a_reason(columns: dict[str, Any], reason: str) -> None:
    """The reason names the column or the count, and quotes its value."""
    row = decode_row(record(**columns), NOW)
    assert isinstance(row, MalformedRow)
    assert row.id == ID
    assert reason in row.reason


def test_a_quoted_value_is_cut_short() -> None:
    """A reason stays one short line of the log, whatever the row has."""
    row = decode_row(record(progress=json.dumps({"total": "x" * 100_000})), NOW)
    assert isinstance(row, MalformedRow)
    assert len(row.reason) < 200


@pytest.mark.parametrize("column", ["created_at", "updated_at", "started_at", "finished_at"])
@pytest.mark.parametrize(
    "date",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))),
        datetime.max,  # noqa: DTZ901 - as asyncpg returns it.
        datetime.min,  # noqa: DTZ901
    ],
    ids=["before UTC begins", "after UTC ends", "infinity", "-infinity"],
)
def test_a_date_that_utc_lacks_is_malformed(column: str, date: datetime) -> None:
    """A date outside of the years 1 to 9999 in UTC is malformed; asyncpg's infinity has no zone."""
    assert isinstance(decode_row(record(**{column: date}), NOW), MalformedRow)


@pytest.mark.parametrize("depth", [1, NESTING_MAX - 1, NESTING_MAX, NESTING_MAX + 1, 1_200, 100_000])
def test_nesting_is_bounded(depth: int) -> None:
    """Lists nested as deep as `NESTING_MAX` are kept, deeper ones are malformed, without a RecursionError."""
    event = decode_row(record(progress=f'{{"more": {"[" * (depth - 1) + "]" * (depth - 1) or 0}}}'), NOW)
    assert isinstance(event, JobUpserted if depth <= NESTING_MAX else MalformedRow)


@given(st.fixed_dictionaries({}, optional=COLUMN_VALUES))
def test_any_values_are_an_event_or_a_reason(columns: dict[str, Any]) -> None:
    """Whatever the columns have, no exception is raised, and the job of an event can be encoded."""
    event = decode_row(record(**columns), NOW)
    if isinstance(event, JobUpserted):
        assert frames.job_event(job_view(event.job)).startswith(b"event: job\n")
        assert event.job.created_at.tzinfo is UTC
    else:
        assert event.id == ID
        assert event.reason
