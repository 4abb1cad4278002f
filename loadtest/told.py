"""What an event says of jobs, whoever sent it: a job as a row or a view, or a snapshot of several."""

from collections.abc import Sequence

import msgspec

from loadtest.reader import Look


class Counted(msgspec.Struct):
    """A job's progress, with the times that its writer put beside it (`clockwork.py`)."""

    completed: int = 0
    planned: float = 0.0
    stamped: float = 0.0


class Told(msgspec.Struct):
    """One job, or several in a snapshot; all that is not there is empty."""

    id: str = ""
    status: str = ""
    progress: Counted | None = None
    jobs: "list[Told] | None" = None


_decode = msgspec.json.Decoder(Told).decode
_decode_many = msgspec.json.Decoder(list[Told]).decode


def told(data: bytes, look: Look) -> Sequence[Told]:
    """What the *data* of an event says, if it is of jobs at all."""
    if look.wrapped and data.startswith(b"{"):
        value = msgspec.json.decode(data)
        for name in look.wrapped:
            value = value.get(name) if isinstance(value, dict) else None
        return () if value is None else (msgspec.convert(value, Told),)
    if data.startswith(b"["):
        return (Told(jobs=_decode_many(data)),)
    return (_decode(data),) if data.startswith(b"{") else ()
