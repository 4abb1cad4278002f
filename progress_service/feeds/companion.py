"""One task that stands beside another: when either ends, so does the other."""

from collections.abc import Awaitable, Callable

import anyio


async def run_beside(main: Callable[[], Awaitable[None]], companion: Callable[[], Awaitable[None]]) -> None:
    """Run *main* until it ends or *companion* does.

    What *main* raises is raised as it is, and not in a group: callers tell outages by their types.
    *companion* must deal with its own failures.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def accompany() -> None:
            await companion()
            tasks.cancel_scope.cancel()

        tasks.start_soon(accompany)
        try:
            await main()
        except Exception as error:  # noqa: BLE001 - raised again below.
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
