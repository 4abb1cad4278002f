"""Several processes on one simulated loop, each of which may stand still for a while, as after SIGSTOP."""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import TypeVar, TypeVarTuple, Unpack

from tests.sim.virtual_time import VirtualLoop

HandleT = TypeVar("HandleT", bound=asyncio.Handle)
Ts = TypeVarTuple("Ts")


class Process:
    """Whatever is called in its context stands still while it is frozen, and happens in order after that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_frozen = False
        self.context = Context()
        self.context.run(PROCESS.set, self)
        self._held: list[tuple[Callable[[], None], Context]] = []

    def enter(self, call: Callable[..., object], *args: object) -> None:
        """Call something as this process does; the tasks that it starts belong to the process."""
        self.context.copy().run(call, *args)

    def thaw(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on."""
        self.is_frozen = False
        held, self._held = self._held, []
        for call, context in held:
            loop.call_soon(call, context=context)

    def gated(
        self,
        schedule: Callable[[Callable[[], None]], HandleT],
        call: Callable[[], object],
        context: Context,
    ) -> HandleT:
        """Schedule a call which waits until the process may go on."""

        def run() -> None:
            if handle.cancelled():
                return
            if self.is_frozen:
                self._held.append((run, context))
            else:
                call()

        handle = schedule(run)
        return handle


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class ProcessLoop(VirtualLoop):
    """A loop that knows which process each call belongs to."""

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's."""
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        soon = super().call_soon
        return process.gated(lambda run: soon(run, context=context), lambda: callback(*args), context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        at = super().call_at
        return process.gated(lambda run: at(when, run, context=context), lambda: callback(*args), context)
