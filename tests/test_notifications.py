"""Notifications: the payloads of our triggers are read, and anyone else's are at worst a `ValueError`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.core.events import JobDeleted
from progress_service.core.model import Instant
from progress_service.wire import rows
from progress_service.wire.rows import job_deleted, job_reported, jobs_reported
from tests.texts import ID, json_values, written

NOW = Instant(7.0)


def test_a_notification_of_reports() -> None:
    """Rows stay unread in it, so that each is judged by itself."""
    payload = f'{{"reported":[{written().decode()},{{"id":"x"}}]}}'
    reports, malformed = jobs_reported(rows.notification(payload).reported, NOW)
    assert reports == [job_reported(written(), NOW)]
    assert [row.id for row in malformed] == ["x"]


def test_a_notification_of_deletions() -> None:
    """A row that belonged to nobody may be deleted like any other."""
    payload = '{"deleted":[{"id":"a","user_id":"ann","revision":3},{"id":"b","user_id":null,"revision":4}]}'
    assert [job_deleted(row, NOW) for row in rows.notification(payload).deleted] == [
        JobDeleted("a", "ann", 3, NOW),
        JobDeleted("b", "", 4, NOW),
    ]


def test_the_other_notifications() -> None:
    """The trigger's way out for large rows and for TRUNCATE, and the feed's own marker."""
    assert [str(job_id) for job_id in rows.notification(f'{{"fetch":["{ID}"]}}').fetch] == [ID]
    assert rows.notification('{"resync":"truncate"}').resync == "truncate"
    assert rows.notification('{"marker":"m1"}').marker == "m1"


@given(st.text() | json_values.map(json.dumps))
def test_a_foreign_notification_is_a_value_error(payload: str) -> None:
    """Anyone may notify on any channel: the feed expects this error and no other."""
    try:
        rows.notification(payload)
    except ValueError:
        return


def test_a_deeply_nested_notification_is_a_value_error() -> None:
    """It fits into the 8,000 bytes of a payload, so anyone with a connection can send it."""
    with pytest.raises(ValueError, match=r"nest|deep|recurs"):
        rows.notification('{"reported":[' + "[" * 3_900 + "]" * 3_900 + "]}")
