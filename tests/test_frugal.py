"""What stands in for uvicorn's own pieces behaves as they do."""

import asyncio
from collections import deque

import pytest

from progress_service.frugal import Flow, Queue, Signal

pytestmark = pytest.mark.anyio

Event = type[asyncio.Event]


@pytest.mark.parametrize("event", [asyncio.Event, Signal])
async def test_everyone_who_waits_is_woken_and_whoever_comes_later_is_not_held(event: Event) -> None:
    """A request may be read by its route and watched for its end by another task."""
    signal = event()
    waiting = [asyncio.ensure_future(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in waiting)
    signal.set()
    signal.clear()
    assert await asyncio.gather(*waiting) == [True] * 3
    signal.set()
    assert signal.is_set()
    assert await signal.wait()


@pytest.mark.parametrize("event", [asyncio.Event, Signal])
async def test_one_who_gives_up_takes_nobody_else_with_them(event: Event) -> None:
    """A route that is cancelled must not cost another its news, nor be told of them."""
    signal = event()
    first, second = (asyncio.ensure_future(signal.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    signal.set()
    assert await second
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    signal.clear()
    assert not signal.is_set()


async def test_a_flow_that_is_paused_holds_who_writes() -> None:
    """Else a slow reader's frames would pile up in this process."""
    flow = Flow(asyncio.Transport())
    await flow.drain()
    flow.pause_writing()
    writing = asyncio.ensure_future(flow.drain())
    await asyncio.sleep(0)
    assert not writing.done()
    flow.resume_writing()
    await writing


async def test_a_queue_gives_back_in_the_order_of_arrival() -> None:
    """Answers must come in the order of their requests (RFC 9112, section 9.3.2)."""
    queues: tuple[deque[int], Queue[int]] = (deque(), Queue())
    for queue in queues:
        for number in range(3):
            queue.appendleft(number)
        assert [queue.pop() for _ in range(3)] == [0, 1, 2]
        assert not queue
