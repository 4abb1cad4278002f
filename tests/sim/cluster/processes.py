"""Several processes on one simulated loop, each of which may stand still for a while, as after SIGSTOP."""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

from tests.sim.virtual_time import VirtualLoop


class Process:
    """Whatever is called in its context stands still while it is frozen, and happens in order after that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_frozen = False
        self.context = Context()
        self.context.run(PROCESS.set, self)
        self._held: list[tuple[asyncio.Handle, Callable[[], object]]] = []

    def enter(self, call: Callable[..., object], *args: object) -> None:
        """Call something as this process does; the tasks that it starts belong to the process."""
        self.context.copy().run(call, *args)

    def thaw(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on."""
        self.is_frozen = False
        held, self._held = self._held, []
        for handle, call in held:
            loop.call_soon(call, context=handle._context)

    def gated(self, schedule: Callable[[Callable[[], None]], Any], call: Callable[[], object]) -> Any:
        """Schedule a call which waits until the process may go on."""

        def run() -> None:
            if handle.cancelled():
                return
            if self.is_frozen:
                self._held.append((handle, run))
            else:
                call()

        handle: asyncio.Handle = schedule(run)
        return handle


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class ProcessLoop(VirtualLoop):
    """A loop that knows which process each call belongs to."""

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """As asyncio's."""
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        soon = super().call_soon
        handle: asyncio.Handle = process.gated(
            lambda run: soon(run, context=context), lambda: callback(*args)
        )
        return handle

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        at = super().call_at
        handle: asyncio.TimerHandle = process.gated(
            lambda run: at(when, run, context=context), lambda: callback(*args)
        )
        return handle
