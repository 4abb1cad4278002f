"""Messages of logical replication: ids and revisions decoded as PostgreSQL's manual has them, or refused."""

from collections.abc import Sequence
from random import Random
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.wire.pgoutput import (
    ProtocolError,
    RowChange,
    RowDeleted,
    RowUpserted,
    TableTruncated,
    decode_changes,
)

RELATION = 16_393
UNCHANGED = object()
ID = "5c355883-cfb9-4323-9564-9c567f8e38fc"

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
values = st.none() | texts | st.just(UNCHANGED)


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
    """A row was inserted."""
    return b"I" + pack("!I", number) + b"N" + row(given)


def update(given: Sequence[object], before: Sequence[object] | None = None, kind: bytes = b"K") -> bytes:
    """A row was updated; *before* is its old key (K) or the whole old row (O)."""
    old = b"" if before is None else kind + row(before)
    return b"U" + pack("!I", RELATION) + old + b"N" + row(given)


def delete(before: Sequence[object]) -> bytes:
    """A row was deleted."""
    return b"D" + pack("!I", RELATION) + b"K" + row(before)


def truncate(number: int = RELATION) -> bytes:
    """A table was truncated."""
    return b"T" + pack("!IBI", 1, 0, number)


TRANSACTION = (b"B" + bytes(20), b"C" + bytes(25), b"O" + bytes(9), b"Y" + bytes(6), b"M" + bytes(14))
"""A begin, a commit, and what a plugin or another program adds: none of it changes a row."""


def read(messages: Sequence[bytes]) -> list[RowChange]:
    """The changes of our table."""
    return list(decode_changes(messages, "public", "bulk_enrichment_jobs"))


@given(
    st.dictionaries(texts.filter(lambda name: name not in {"id", "revision"}), values, max_size=4),
    st.integers(0, 2**63 - 1),
    st.sampled_from([None, b"K", b"O"]),
    st.booleans(),
    st.randoms(),
)
def test_id_and_revision_are_found_among_any_columns(
    others: dict[str, object],
    revision: int,
    before: bytes | None,
    is_new: object,
    random: Random,
) -> None:
    """An insert or update gives its id and revision, wherever they stand and whatever row comes before."""
    columns = [*{**others, "id": ID, "revision": str(revision)}.items()]
    random.shuffle(columns)
    given = [value for _, value in columns]
    old = None if before is None else ["another" if value == ID else None for value in given]
    message = insert(given) if is_new else update(given, old, before or b"K")
    assert read([*TRANSACTION, relation([name for name, _ in columns]), message, *TRANSACTION]) == [
        RowUpserted(ID, revision)
    ]


def test_deletion_and_truncation() -> None:
    """A deletion gives its id, a truncation no row; changes come in the order of their messages."""
    described = relation(["id", "revision", "label"])
    assert read([described, insert([ID, "7", "x"]), delete([ID, None, None]), truncate()]) == [
        RowUpserted(ID, 7),
        RowDeleted(ID),
        TableTruncated(),
    ]


def test_other_tables_are_passed_over() -> None:
    """Changes of other tables are left out, also if a later relation takes the number of ours."""
    columns = ["id", "revision"]
    messages = [
        relation(columns, "other_jobs", 7),
        relation(columns),
        insert(["other", "1"], 7),
        truncate(7),
        insert(["ours", "2"]),
        relation(columns, "other_jobs"),
        insert(["other", "3"]),
    ]
    assert read(messages) == [RowUpserted("ours", 2)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "kind b''"),
        (b"Z", "kind b'Z'"),
        (b"R\0", "kind b'R' cannot be read"),
        (insert(["a", "1"], 9), "kind b'I' cannot be read: KeyError"),
        (truncate(9), "kind b'T' cannot be read: KeyError"),
        (insert(["a"]), "a row has 1 columns, and its table 2"),
        (insert(["a", "123"])[:-1], "ends beyond its message"),
        (insert(["a", "1"])[:8], "cannot be read"),
        (insert(["a", None])[:-1] + b"b", "no column value of the kind 98"),
        (b"U" + pack("!I", RELATION) + b"X" + row(["a", "1"]), "a new row was expected"),
        (insert(["a", "1"]).replace(b"a", b"\xff"), "cannot be read: UnicodeDecodeError"),
        (insert(["a", "x"]), "cannot be read: ValueError"),
        (insert(["a", None]), "cannot be read: KeyError('revision')"),
        (delete([None, None]), "cannot be read: KeyError('id')"),
    ],
)
def test_an_unreadable_message_is_refused(message: bytes, reason: str) -> None:
    """A message that is cut, damaged or lacks its id or revision raises ProtocolError, which says why."""
    with pytest.raises(ProtocolError) as refused:
        read([relation(["id", "revision"]), message])
    assert reason in str(refused.value)


def outcome(messages: Sequence[bytes]) -> str:
    """The changes, or why they cannot be read."""
    try:
        return repr(read(messages))
    except ProtocolError as error:
        return str(error)


@given(st.lists(st.binary() | st.sampled_from([relation(["id", "é"]), *TRANSACTION]), max_size=4))
def test_any_bytes_are_read_or_refused(messages: list[bytes]) -> None:
    """Random messages raise no other exception than ProtocolError."""
    assert outcome(messages)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_damaged_messages_are_read_or_refused(at: int, damage: bytes) -> None:
    """Messages with some bytes replaced raise no other exception than ProtocolError."""
    described = relation(["id", "revision"])
    for good in (described, update(["a", "1"], ["a", None]), delete(["a", None])):
        cut = at % len(good)
        assert outcome([described, good[:cut] + damage + good[cut + len(damage) :]])
