"""Decoder of `pgoutput` messages (logical replication, protocol version 1): which rows of one table changed.

The PostgreSQL manual describes the messages under "Logical Replication Message Formats". Of each row only its
id and its revision are decoded. A relation is described before its first change in each batch, so a batch can
be read by itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - as classes are named.


class ProtocolError(ValueError):
    """Bytes that are no message of pgoutput's first version."""


@dataclass(frozen=True, slots=True)
class RowUpserted:
    """A row was inserted or updated, and has that revision since."""

    id: str
    revision: int


@dataclass(frozen=True, slots=True)
class RowDeleted:
    """A row was deleted."""

    id: str


@dataclass(frozen=True, slots=True)
class TableTruncated:
    """All rows were deleted."""


RowChange = RowUpserted | RowDeleted | TableTruncated

_relation_id = Struct("!I")
_column_count = Struct("!H")
_length = Struct("!I")
_truncate = Struct("!IB")
# Flags, the type's id and its modifier, after a column's name.
_COLUMN_TAIL_BYTES = 8
_TEXT, _NULL, _UNCHANGED = b"tnu"
_WANTED = frozenset({"id", "revision"})


def decode_changes(messages: Iterable[bytes], schema: str, table: str) -> Iterator[RowChange]:
    """The changes of one table among a batch of messages, in their order.

    Raises:
        ProtocolError: A message cannot be read.
    """
    batch = _Batch((schema, table))
    for message in messages:
        try:
            change = batch.read(message)
        except ProtocolError:
            raise
        except (StructError, LookupError, ValueError) as error:
            raise ProtocolError(f"a message of the kind {message[:1]!r} cannot be read: {error!r}") from error
        if change is not None:
            yield change


class _Batch:
    """The relations that were described so far."""

    def __init__(self, wanted: tuple[str, str]) -> None:
        self._wanted = wanted
        # Of the wanted relation its columns, of the others None.
        self._relations: dict[int, list[str] | None] = {}

    def read(self, message: bytes) -> RowChange | None:
        """The change that a message describes, if it is one of the wanted relation."""
        match message[:1]:
            case b"R":
                self._describe(message)
            case b"I" | b"U" | b"D" as kind:
                columns = self._relations[_relation_id.unpack_from(message, 1)[0]]
                if columns is not None:
                    return _row_change(kind, message, columns)
            case b"T":
                count, _ = _truncate.unpack_from(message, 1)
                ids = Struct(f"!{count}I").unpack_from(message, 6)
                return TableTruncated() if any(self._relations[each] is not None for each in ids) else None
            case b"B" | b"C" | b"O" | b"Y" | b"M":
                pass  # Transactions, origins, types and other programs' messages change no row.
            case kind:
                raise ProtocolError(f"there is no message of the kind {kind!r}")
        return None

    def _describe(self, message: bytes) -> None:
        (relation_id,) = _relation_id.unpack_from(message, 1)
        schema, at = _string(message, 5)
        table, at = _string(message, at)
        if (schema, table) != self._wanted:
            self._relations[relation_id] = None
            return
        (count,) = _column_count.unpack_from(message, at + 1)
        at += 3
        columns = []
        for _ in range(count):
            name, at = _string(message, at + 1)
            columns.append(name)
            at += _COLUMN_TAIL_BYTES
        self._relations[relation_id] = columns


def _row_change(kind: bytes, message: bytes, columns: list[str]) -> RowChange:
    at = 6
    if kind == b"D":
        return RowDeleted(_wanted_columns(message, at, columns)[0]["id"])
    if message[5:6] in (b"K", b"O"):
        # The old row, as far as that identifies it, comes before the new one.
        at = _wanted_columns(message, at, columns)[1] + 1
    if message[at - 1 : at] != b"N":
        raise ProtocolError(f"a new row was expected at byte {at - 1}")
    values, _ = _wanted_columns(message, at, columns)
    return RowUpserted(values["id"], int(values["revision"]))


def _wanted_columns(message: bytes, at: int, columns: list[str]) -> tuple[Mapping[str, str], int]:
    """The values of `_WANTED` in a row that begins at *at*, and where the row ends."""
    (count,) = _column_count.unpack_from(message, at)
    if count != len(columns):
        raise ProtocolError(f"a row has {count} columns, and its table {len(columns)}")
    at += 2
    values: dict[str, str] = {}
    for name in columns:
        kind = message[at]
        at += 1
        if kind == _TEXT:
            (length,) = _length.unpack_from(message, at)
            at += 4
            if at + length > len(message):
                raise ProtocolError(f"the column {name} ends beyond its message")
            if name in _WANTED:
                values[name] = message[at : at + length].decode()
            at += length
        elif kind not in (_NULL, _UNCHANGED):
            raise ProtocolError(f"there is no column value of the kind {kind}")
    return values, at


def _string(message: bytes, at: int) -> tuple[str, int]:
    """The text that begins at *at*, and where the next field begins."""
    end = message.index(0, at)
    return message[at:end].decode(), end + 1
