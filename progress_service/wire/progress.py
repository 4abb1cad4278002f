"""What a row's `progress` says: the counts, and whatever else a worker wrote beside them."""

import reprlib

from progress_service.core.model import Progress

COUNT_MAX = 2**53 - 1
"""The largest whole number that a browser holds exactly (ECMAScript, Number.MAX_SAFE_INTEGER)."""

NESTING_MAX = 32
"""How deep the lists and objects of a progress may lie in one another.

Beyond what the interpreter's stack bears, decoding fails; what is written must be readable from any place.
"""

COUNTS = ("total", "completed", "failed", "current_batch")
COUNTS_ALONE = frozenset(COUNTS)


def progress_of(written: dict[str, object]) -> Progress:
    """The progress that was *written*.

    Raises:
        ValueError: It cannot be shown; the text says why.
    """
    total, completed = _count(written, "total"), _count(written, "completed")
    failed, current_batch = _count(written, "failed"), _count(written, "current_batch")
    if 0 < total < completed + failed:
        raise ValueError(f"completed {completed} and failed {failed} are more than the total {total}")
    if COUNTS_ALONE.issuperset(written):
        return Progress(total, completed, failed, current_batch)
    more = {key: value for key, value in written.items() if key not in COUNTS}
    if not _is_within(more, NESTING_MAX):
        raise ValueError(f"progress is nested more than {NESTING_MAX} deep")
    return Progress(total, completed, failed, current_batch, more)


def _count(written: dict[str, object], key: str) -> int:
    """A count that was written; 0 when it was left out. A whole number may be written as 3.0 too."""
    value = written.get(key, 0)
    if type(value) is int and 0 <= value <= COUNT_MAX:
        return value
    if value is None and key == "current_batch":
        return 0  # As older programs write it before the first batch.
    if isinstance(value, float) and value.is_integer() and 0 <= value <= COUNT_MAX:
        return int(value)
    # The reason goes into a log, so what is quoted is cut short.
    raise ValueError(f"progress.{key} is {reprlib.repr(value)}, not a whole number from 0 to {COUNT_MAX}")


def _is_within(value: object, depth: int) -> bool:
    """Whether the lists and objects of *value* lie at most *depth* deep."""
    match value:
        case dict():
            return depth > 0 and all(_is_within(part, depth - 1) for part in value.values())
        case list():
            return depth > 0 and all(_is_within(part, depth - 1) for part in value)
        case _:
            return True
