"""What PostgreSQL's write-ahead log says, as its plugin `pgoutput` puts it (protocol version 1).

The messages are described in the PostgreSQL manual, "Logical Replication Message Formats". They carry column
values as text. A relation is described before its first change in each batch, so a batch can be read by itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct, error as StructError

POSTGRES_EPOCH = 946_684_800.0
"""2000-01-01T00:00Z, from which PostgreSQL counts its microseconds, in seconds since 1970."""


class ProtocolError(ValueError):
    """Bytes that are no message of pgoutput's first version."""


@dataclass(frozen=True, slots=True)
class Written:
    """A row was inserted or updated. *unchanged* names columns too long to be repeated (TOAST)."""

    columns: Mapping[str, str | None]
    unchanged: frozenset[str]
    committed_at: float
    """The commit, by the database's clock, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A row was deleted. Of its columns those of the replica identity are known."""

    columns: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Truncated:
    """All rows are gone."""


Change = Written | Removed | Truncated

_begin = Struct("!QqI")
_relation_id = Struct("!I")
_column_count = Struct("!H")
_length = Struct("!I")
_truncate = Struct("!IB")
# Flags, the type's id and its modifier, after a column's name.
_COLUMN_TAIL_BYTES = 8
_NONE_UNCHANGED: frozenset[str] = frozenset()


def changes(messages: Iterable[bytes], schema: str, table: str) -> Iterator[Change]:
    """The changes of one table among a batch of messages, in their order.

    Raises:
        ProtocolError: A message cannot be read.
    """
    relations: dict[int, list[str] | None] = {}
    committed_at = 0.0
    for message in messages:
        try:
            match message[:1]:
                case b"B":
                    committed_at = _begin.unpack_from(message, 1)[1] / 1e6 + POSTGRES_EPOCH
                case b"R":
                    _describe(message, (schema, table), relations)
                case b"I" | b"U":
                    if (columns := _columns_of(message, relations)) is not None:
                        yield _written(message, columns, committed_at)
                case b"D":
                    if (columns := _columns_of(message, relations)) is not None:
                        yield Removed(_tuple(message, 6, columns)[0])
                case b"T":
                    if _is_truncated(message, relations):
                        yield Truncated()
                case b"C" | b"O" | b"Y" | b"M":
                    pass  # Commits, origins, types and other programs' messages change no row.
                case kind:
                    raise ProtocolError(f"there is no message of the kind {kind!r}")
        except (StructError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise ProtocolError(f"a message of the kind {message[:1]!r} cannot be read: {error!r}") from error


def _describe(message: bytes, wanted: tuple[str, str], relations: dict[int, list[str] | None]) -> None:
    """Note a relation's columns, or None if it is not the one that is wanted."""
    (relation_id,) = _relation_id.unpack_from(message, 1)
    schema, at = _string(message, 5)
    table, at = _string(message, at)
    if (schema, table) != wanted:
        relations[relation_id] = None
        return
    (count,) = _column_count.unpack_from(message, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        name, at = _string(message, at + 1)
        columns.append(name)
        at += _COLUMN_TAIL_BYTES
    relations[relation_id] = columns


def _columns_of(message: bytes, relations: Mapping[int, list[str] | None]) -> list[str] | None:
    return relations[_relation_id.unpack_from(message, 1)[0]]


def _written(message: bytes, columns: list[str], committed_at: float) -> Written:
    at = 6
    if message[5:6] in (b"K", b"O"):
        # What the row was before, as far as it identifies the row: passed over.
        at = _tuple(message, at, columns)[2] + 1
    if message[at - 1 : at] != b"N":
        raise ProtocolError(f"a new row was expected at byte {at - 1}")
    values, unchanged, _ = _tuple(message, at, columns)
    return Written(values, unchanged, committed_at)


def _tuple(message: bytes, at: int, columns: list[str]) -> tuple[dict[str, str | None], frozenset[str], int]:
    """The values of a row that begins at *at*, the columns that are unchanged, and where it ends."""
    (count,) = _column_count.unpack_from(message, at)
    if count != len(columns):
        raise ProtocolError(f"a row has {count} columns, and its table {len(columns)}")
    at += 2
    values: dict[str, str | None] = {}
    unchanged = _NONE_UNCHANGED
    for name in columns:
        kind = message[at]
        at += 1
        if kind == 0x74:  # t: text follows.
            (length,) = _length.unpack_from(message, at)
            at += 4
            if at + length > len(message):
                raise ProtocolError(f"the column {name} ends beyond its message")
            values[name] = message[at : at + length].decode()
            at += length
        elif kind == 0x6E:  # n: null.
            values[name] = None
        elif kind == 0x75:  # u: as it was before, and too long to repeat.
            unchanged |= {name}
        else:
            raise ProtocolError(f"there is no column value of the kind {kind}")
    return values, unchanged, at


def _is_truncated(message: bytes, relations: Mapping[int, list[str] | None]) -> bool:
    count, _ = _truncate.unpack_from(message, 1)
    ids = Struct(f"!{count}I").unpack_from(message, 6)
    return any(relations[relation_id] is not None for relation_id in ids)


def _string(message: bytes, at: int) -> tuple[str, int]:
    """The text that begins at *at*, and where the next field begins."""
    end = message.index(0, at)
    return message[at:end].decode(), end + 1
