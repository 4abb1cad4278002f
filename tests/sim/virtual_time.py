"""An event loop with virtual time: when no task can run, its clock jumps to the next timer."""

import asyncio
import selectors
from contextvars import Context

START_SECONDS = 1_024.0
"""Where each schedule begins. Pauses are binary fractions, which floating point holds exactly there."""

OUTSIDE = Context()
"""In which what belongs to no process goes on: wires, the database, browsers."""


class NothingDueError(Exception):
    """All tasks wait, and no timer is set: in real time that would be for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, on a selector that passes time instead of waiting."""

    def __init__(self) -> None:
        self.now = START_SECONDS
        super().__init__(_Jumper(self))

    def time(self) -> float:
        """The instant at which the loop stands."""
        return self.now


class _Jumper(selectors.SelectSelector):
    """Never waits for a socket, since there is none."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let *timeout* seconds pass at once."""
        if timeout is None:
            raise NothingDueError("no task can go on, and no timer is set")
        self._loop.now += max(0.0, timeout)
        return []
