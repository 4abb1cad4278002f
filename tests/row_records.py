"""Records of `bulk_enrichment_jobs` as asyncpg returns them, and strategies for values of their columns."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from progress_service.core.model import Request, Status

ID = "3f0b9c7e-2f0a-4a52-9a0e-0c6a3a6f1d11"
USER_ID = "8a4f1f0e-6c5e-4f5e-8a52-2d3c1b0a9f22"
PROGRESS = {"total": 12, "completed": 7, "failed": 1, "current_batch": 2, "source": "contacts.csv"}

RECORD: dict[str, Any] = {
    "id": ID,
    "user_id": USER_ID,
    "status": "running",
    "revision": 41,
    "progress": json.dumps(PROGRESS),
    "label": "spring fair",
    "requested": "pause",
    "error": None,
    "created_at": datetime(2024, 2, 29, 12, 0, 0, 250_000, UTC),
    "started_at": datetime(2024, 2, 29, 12, 0, 1, tzinfo=UTC),
    "updated_at": datetime(2024, 2, 29, 12, 0, 9, tzinfo=UTC),
    "finished_at": None,
    "finished_age_seconds": None,
}
"""A record by column, in the order of `COLUMNS`."""

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
counts = st.integers(-1, 12) | st.sampled_from([3.0, 0.5, 2**53 - 1, 2**53, 1e300, True, None, "7"])
progress_objects = st.dictionaries(
    st.sampled_from(["total", "completed", "failed", "current_batch"]) | texts, counts | json_values
)
zones = st.just(UTC) | st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
# A date without a zone is how asyncpg returns `infinity`.
dates = st.datetimes() | st.datetimes(timezones=zones)

COLUMN_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "user_id": st.none() | st.just(USER_ID),
    "status": st.sampled_from(Status).map(str) | st.none() | texts,
    "revision": st.none() | st.integers(-(2**63), 2**63 - 1),
    "progress": st.none() | texts | (progress_objects | json_values).map(json.dumps),
    "label": st.none() | texts,
    "requested": st.none() | st.sampled_from(Request).map(str) | texts,
    "error": st.none() | texts,
    "created_at": st.none() | dates,
    "started_at": st.none() | dates,
    "updated_at": st.none() | dates,
    "finished_at": st.none() | dates,
    "finished_age_seconds": st.none() | st.floats(),
}
"""Whatever PostgreSQL can have in each column, where a row need not keep the CHECK constraints."""


def record(**columns: Any) -> tuple[Any, ...]:
    """A record with some columns changed."""
    assert columns.keys() <= RECORD.keys()
    return tuple((RECORD | columns).values())
