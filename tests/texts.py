"""Rows in PostgreSQL's own words, and any JSON that may stand in the place of one."""

import json
from typing import Any

from hypothesis import strategies as st

from progress_service.core.model import Status

ID = "3f0b9c7e-2f0a-4a52-9a0e-0c6a3a6f1d11"
ROW: dict[str, Any] = {
    "id": ID,
    "user_id": "8a4f1f0e-6c5e-4f5e-8a52-2d3c1b0a9f22",
    "label": "spring fair",
    "status": "running",
    "requested": "pause",
    "progress": {"total": 12, "completed": 7, "failed": 1, "current_batch": 2, "source": "contacts.csv"},
    "error": None,
    "revision": 41,
    "created_at": "2024-02-29T12:00:00.25+00:00",
    "started_at": "2024-02-29T13:00:01+01:00",
    "updated_at": "2024-02-29T12:00:09+00:00",
    "finished_at": None,
    "finished_seconds": None,
}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just(ID)
    | st.sampled_from(Status),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from([*ROW]), inner),
    max_leaves=12,
)


def written(**fields: Any) -> bytes:
    """The row as JSON, with some fields changed."""
    return json.dumps(ROW | fields).encode()
