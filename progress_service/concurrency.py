"""Concurrency helpers: an interruptible sleep, tasks that end together, jittered retry delays."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from math import inf

import anyio


class InterruptibleSleep:
    """A sleep that another task can end early.

    An event in a cancel scope does the same at two to three times the cost.
    """

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """End the sleep of the one sleeper; nothing is kept if it does not sleep."""
        if self._waiter is not None:
            _set_done(self._waiter)

    async def sleep(self, seconds: float = inf) -> None:
        """Sleep until `wake`, for at most *seconds*; below 0 they count as 0."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if seconds == inf else loop.call_later(max(0.0, seconds), _set_done, self._waiter)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _set_done(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def run_until_first_ends(*tasks: Callable[[], Awaitable[None]]) -> None:
    """Run *tasks* beside each other until one returns or fails, then cancel the others.

    The first failure is raised as it is, and not in a group: callers tell outages by their types.
    """
    failure: Exception | None = None

    async with anyio.create_task_group() as group:

        async def run(task: Callable[[], Awaitable[None]]) -> None:
            nonlocal failure
            try:
                await task()
            except Exception as error:  # noqa: BLE001 - raised again below.
                failure = failure or error
            group.cancel_scope.cancel()

        for task in tasks:
            group.start_soon(run, task)
    if failure is not None:
        raise failure


def retry_delay_seconds(failures: int, shortest: float, longest: float) -> float:
    """The delay before the next try, after so many *failures* before this one.

    It doubles from *shortest* to *longest* seconds, and is then cut by up to a half, at random, so that many
    instances do not come at once.
    """
    delay = min(longest, shortest * 2 ** min(failures, 10))
    return random.uniform(delay / 2, delay)  # noqa: S311 - spreads load; guards nothing.
