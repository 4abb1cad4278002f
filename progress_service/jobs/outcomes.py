"""How a worker's leaving says how its job ended: the exception that left the block, in words for people."""

import asyncio
from typing import Any, Literal, NamedTuple

from progress_service.core.model import Progress, Status
from progress_service.wire.rows import ERROR_CHARACTERS_MAX


class JobCancelled(Exception):
    """A person asked for the job to be cancelled. Let it out of the job's block, which then ends so."""


class Outcome(NamedTuple):
    """How a job ended, as its row says it."""

    status: Status
    error: str | None = None
    ended_by: Literal["worker", "user"] = "worker"


def outcome(cause: BaseException, progress: Progress) -> Outcome:
    """The end that *cause* brings to a job that has come so far.

    `GeneratorExit` stands for a loop that was left before its end.
    """
    if found(JobCancelled, cause):
        return Outcome(Status.CANCELLED, ended_by="user")
    match cause:
        case GeneratorExit():
            done = progress.completed + progress.failed
            return Outcome(Status.FAILED, f"left after {done} of {progress.total} items")
        case Exception():
            return Outcome(Status.FAILED, clean(reason(cause)))
        case _:
            # Cancelled, interrupted or told to exit: the worker was stopped, it did not fail.
            return Outcome(Status.CANCELLED)


def found(kind: type[BaseException], cause: BaseException) -> bool:
    """Whether *cause* is of that *kind*, or a task group's wrapping around one that is.

    A worker with several tasks has `JobCancelled` raised in each of them, and all come wrapped.
    """
    if isinstance(cause, BaseExceptionGroup):
        return any(found(kind, error) for error in cause.exceptions)
    return isinstance(cause, kind)


def cause_of_end(task: "asyncio.Task[Any] | None") -> BaseException:
    """What ended *task*; GeneratorExit while it goes on, or if nothing did."""
    if task is None or not task.done():
        return GeneratorExit()
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or GeneratorExit()


def reason(error: BaseException) -> str:
    """What people read. A task group's wrapping around a single error tells them nothing."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return ": ".join(filter(None, (type(error).__name__, str(error))))


def clean(text: str | None) -> str | None:
    """*text* as PostgreSQL can hold it (no NUL), and as long as people are told it."""
    return text and text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:ERROR_CHARACTERS_MAX]
