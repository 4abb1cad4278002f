"""What PostgreSQL's write-ahead log says, as its plugin `pgoutput` puts it (protocol version 1).

The PostgreSQL manual describes them under "Logical Replication Message Formats". They carry column values as
text. A relation is described before its first change in each batch, so a batch can be read by itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - as classes are named.

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
_TEXT, _NULL, _UNCHANGED = b"tnu"
_NONE_UNCHANGED: frozenset[str] = frozenset()


def changes(messages: Iterable[bytes], schema: str, table: str) -> Iterator[Change]:
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
    """What is known while a batch is read: its relations, and the transaction that it is in."""

    def __init__(self, wanted: tuple[str, str]) -> None:
        self._wanted = wanted
        # Of the relation that is wanted its columns, of the others nothing.
        self._relations: dict[int, list[str] | None] = {}
        self._committed_at = 0.0

    def read(self, message: bytes) -> Change | None:
        """What a message says of the wanted relation, if anything."""
        match message[:1]:
            case b"B":
                self._committed_at = _begin.unpack_from(message, 1)[1] / 1e6 + POSTGRES_EPOCH
            case b"R":
                self._describe(message)
            case b"I" | b"U" | b"D" as kind:
                columns = self._relations[_relation_id.unpack_from(message, 1)[0]]
                if columns is not None:
                    return self._changed(kind, message, columns)
            case b"T":
                count, _ = _truncate.unpack_from(message, 1)
                ids = Struct(f"!{count}I").unpack_from(message, 6)
                return Truncated() if any(self._relations[each] is not None for each in ids) else None
            case b"C" | b"O" | b"Y" | b"M":
                pass  # Commits, origins, types and other programs' messages change no row.
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

    def _changed(self, kind: bytes, message: bytes, columns: list[str]) -> Written | Removed:
        at = 6
        if kind == b"D":
            return Removed(_tuple(message, at, columns)[0])
        if message[5:6] in (b"K", b"O"):
            # What the row was before, as far as that identifies it: passed over.
            at = _tuple(message, at, columns)[2] + 1
        if message[at - 1 : at] != b"N":
            raise ProtocolError(f"a new row was expected at byte {at - 1}")
        values, unchanged, _ = _tuple(message, at, columns)
        return Written(values, unchanged, self._committed_at)


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
        if kind == _TEXT:
            (length,) = _length.unpack_from(message, at)
            at += 4
            if at + length > len(message):
                raise ProtocolError(f"the column {name} ends beyond its message")
            values[name] = message[at : at + length].decode()
            at += length
        elif kind == _NULL:
            values[name] = None
        elif kind == _UNCHANGED:
            unchanged |= {name}
        else:
            raise ProtocolError(f"there is no column value of the kind {kind}")
    return values, unchanged, at


def _string(message: bytes, at: int) -> tuple[str, int]:
    """The text that begins at *at*, and where the next field begins."""
    end = message.index(0, at)
    return message[at:end].decode(), end + 1
