"""The messages of the write-ahead log: read as PostgreSQL's manual has them, and else refused."""

from collections.abc import Mapping, Sequence
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.core.events import JobReported
from progress_service.core.model import Instant, Status
from progress_service.wire import rows
from progress_service.wire.pgoutput import ProtocolError, Removed, Truncated, Written, changes

RELATION = 16_393
UNCHANGED = object()
COMMITTED_AT = 1_700_000_000.25
NOW = Instant(7.0)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
values = st.none() | texts | st.just(UNCHANGED)

ROW: Mapping[str, str | None] = {
    "id": "5c355883-cfb9-4323-9564-9c567f8e38fc",
    "user_id": "aa978ce8-d4c5-459d-97e7-188c45b38e41",
    "status": "running",
    "progress": '{"total": 8, "completed": 3, "mood": "good"}',
    "created_at": "2026-11-24 14:24:15.212468+00",
    "updated_at": "2026-11-24 14:24:39+00",
    "label": None,
    "requested": None,
    "error": None,
    "revision": "1795530255233765",
    "started_at": None,
    "finished_at": None,
}


def begin() -> bytes:
    """A transaction begins."""
    return b"B" + pack("!QqI", 1, round((COMMITTED_AT - 946_684_800) * 1e6), 2)


def relation(columns: Sequence[str], table: str = "bulk_enrichment_jobs", number: int = RELATION) -> bytes:
    """The description of a table."""
    head = b"R" + pack("!I", number) + b"public\0" + table.encode() + b"\0i" + pack("!H", len(columns))
    return head + b"".join(b"\1" + name.encode() + b"\0" + pack("!Ii", 25, -1) for name in columns)


def row(given: Sequence[object]) -> bytes:
    """The values of a row."""
    parts = [pack("!H", len(given))]
    for value in given:
        match value:
            case None:
                parts.append(b"n")
            case str():
                parts.append(b"t" + pack("!I", len(value.encode())) + value.encode())
            case _:
                parts.append(b"u")
    return b"".join(parts)


def insert(given: Sequence[object], number: int = RELATION) -> bytes:
    """A row is new."""
    return b"I" + pack("!I", number) + b"N" + row(given)


def update(given: Sequence[object], before: Sequence[object] | None = None, kind: bytes = b"K") -> bytes:
    """A row has changed."""
    old = b"" if before is None else kind + row(before)
    return b"U" + pack("!I", RELATION) + old + b"N" + row(given)


def delete(before: Sequence[object]) -> bytes:
    """A row is gone."""
    return b"D" + pack("!I", RELATION) + b"K" + row(before)


def read(messages: Sequence[bytes]) -> list[Written | Removed | Truncated]:
    """What they say of our table."""
    return list(changes(messages, "public", "bulk_enrichment_jobs"))


@given(
    st.dictionaries(texts, values, min_size=1, max_size=5), st.sampled_from([None, b"K", b"O"]), st.booleans()
)
def test_rows_are_read_as_they_were_written(
    columns: dict[str, object], before: bytes | None, is_new: object
) -> None:
    """Whatever text a row has, and whether or not its former identity comes before it."""
    given = list(columns.values())
    old = None if before is None else [None] * len(given)
    message = insert(given) if is_new else update(given, old, before or b"K")
    (change,) = read([begin(), relation(list(columns)), message, b"C" + bytes(25)])
    assert change == Written(
        {name: value for name, value in columns.items() if value is None or isinstance(value, str)},
        frozenset(name for name, value in columns.items() if value is UNCHANGED),
        COMMITTED_AT,
    )


def outcome(messages: Sequence[bytes]) -> str:
    """What they say, or why they cannot be read."""
    try:
        return repr(read(messages))
    except ProtocolError as error:
        return str(error)


def test_deletion_and_truncation() -> None:
    """A deleted row says only who it was, and an emptied table not even that."""
    truncate = b"T" + pack("!IBI", 1, 0, RELATION)
    assert read([relation(["id", "label"]), delete(["a", None]), truncate]) == [
        Removed({"id": "a", "label": None}),
        Truncated(),
    ]


def test_other_tables_are_passed_over() -> None:
    """A publication may be widened by somebody else; their rows are none of our business."""
    other = relation(["id"], "other_jobs", 7)
    messages = [
        other,
        relation(["id"]),
        insert(["theirs"], 7),
        b"T" + pack("!IBI", 1, 0, 7),
        insert(["ours"]),
    ]
    assert read(messages) == [Written({"id": "ours"}, frozenset(), 0.0)]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "kind b''"),
        (b"Z", "kind b'Z'"),
        (b"B\0", "kind b'B' cannot be read"),
        (insert(["a"], 9), "kind b'I' cannot be read: KeyError"),
        (insert(["a", "b"]), "a row has 2 columns, and its table 1"),
        (insert(["abc"])[:-1], "ends beyond its message"),
        (insert(["abc"])[:8], "cannot be read"),
        (insert([None])[:-1] + b"b", "no column value of the kind 98"),
        (b"U" + pack("!I", RELATION) + b"X" + row(["a"]), "a new row was expected"),
        (insert(["a"])[:-1] + b"\xff", "cannot be read: UnicodeDecodeError"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, words: str) -> None:
    """A change that is misread would show a wrong figure; one that is refused leads to a snapshot."""
    with pytest.raises(ProtocolError, match=words.replace("(", r"\(")):
        read([relation(["id"]), message])


@given(st.lists(st.binary() | st.sampled_from([relation(["id", "é"]), begin()]), max_size=4))
def test_any_bytes_are_read_or_refused(messages: list[bytes]) -> None:
    """There is no third outcome: another exception would end the service."""
    assert outcome(messages)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_damaged_messages_are_read_or_refused(at: int, damage: bytes) -> None:
    """As above, nearer to good ones."""
    for good in (relation(["id", "label"]), update(["a", UNCHANGED], ["a", None]), delete(["a", None])):
        cut = at % len(good)
        assert outcome([relation(["id", "label"]), good[:cut] + damage + good[cut + len(damage) :]])


def test_a_row_of_the_log_is_a_report() -> None:
    """Both ways of hearing of a row lead to the same job."""
    fact = rows.job_written(ROW, COMMITTED_AT, NOW)
    assert isinstance(fact, JobReported)
    assert (fact.at, fact.finished_seconds) == (NOW, None)
    assert fact.job.status is Status.RUNNING
    assert (fact.job.revision, fact.job.progress.completed) == (1_795_530_255_233_765, 3)
    assert fact.job.progress.more == {"mood": "good"}
    assert fact.job.created_at.isoformat() == "2026-11-24T14:24:15.212468+00:00"


def test_a_job_is_as_old_as_it_was_when_it_was_committed() -> None:
    """Its eviction must not depend on our clock, nor come early because the two disagree."""
    finished = {**ROW, "status": "failed", "finished_at": "2023-11-14 22:13:18.25+00"}
    fact = rows.job_written(finished, COMMITTED_AT, NOW)
    assert isinstance(fact, JobReported)
    assert fact.finished_seconds == 2.0
    late = rows.job_written({**finished, "finished_at": "2123-11-14 22:13:18+00"}, COMMITTED_AT, NOW)
    assert isinstance(late, JobReported)
    assert late.finished_seconds == 0.0


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("user_id", None, "user_id is null"),
        ("status", "dancing", "'dancing' is not a valid Status"),
        ("progress", "[]", "Expected `object`"),
        ("progress", '{"total": -1}', "progress.total is -1"),
        ("progress", "[" * 100_000, "Expected `object`"),
        ("created_at", "infinity", "Invalid isoformat"),
        ("created_at", "0044-03-15 12:00:00+00 BC", "Invalid isoformat"),
        ("updated_at", None, "updated_at is null"),
        ("requested", "dance", "'dance' is not a valid Request"),
        ("revision", "x", "invalid literal"),
    ],
)
def test_a_malformed_row_of_the_log_says_why(name: str, value: str | None, reason: str) -> None:
    """The rows around it are not to blame, and somebody has to mend it."""
    fact = rows.job_written({**ROW, name: value}, COMMITTED_AT, NOW)
    assert isinstance(fact, rows.MalformedRow)
    assert fact.id == ROW["id"]
    assert reason in fact.reason


@given(st.dictionaries(st.sampled_from([*ROW]), st.none() | st.text(), max_size=4))
def test_any_text_in_any_column(columns: dict[str, str | None]) -> None:
    """A row is a report or malformed, and never an exception."""
    fact = rows.job_written({**ROW, **columns}, COMMITTED_AT, NOW)
    assert isinstance(fact, JobReported | rows.MalformedRow)


def test_a_column_that_is_not_published_is_named() -> None:
    """A publication may be narrowed to a list of columns."""
    fact = rows.job_written({"id": "a"}, COMMITTED_AT, NOW)
    assert isinstance(fact, rows.MalformedRow)
    assert "the log does not say its 'finished_at'" in fact.reason
