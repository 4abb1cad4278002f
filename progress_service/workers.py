"""Several processes behind one listening socket, for a machine with more than one core.

Each is a service of its own, with its own feed and its own board; the kernel gives a connection to whichever
accepts it first. Nothing is shared but the socket, which the supervisor here keeps: it is neither closed nor
its queue lost while a worker is replaced.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import Process

logger = logging.getLogger(__name__)

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class WorkerError(Exception):
    """A worker gave up, as a service does that cannot start; what it had to say is in the log."""


class Supervisor:
    """Keeps a number of workers running, and ends them all when it is asked to.

    Args:
        command: What a worker runs. It is given the descriptors of the listener and of its leash.
        environments: One for each worker.
        listener: The socket on which all of them accept connections.
    """

    def __init__(
        self, command: Sequence[str], environments: Sequence[Mapping[str, str]], listener: socket.socket
    ) -> None:
        self._command = [*command, "--fd", str(listener.fileno())]
        self._environments = environments
        self._listener = listener
        self._workers: set[Process] = set()
        self._failed_status: int | None = None
        self.is_ending = False

    async def run(self) -> None:
        """Replace every worker that is killed, until SIGTERM or SIGINT; a second signal hurries them.

        Each worker holds the reading end of a pipe, its leash, whose writing end is held here alone: should
        this process be killed, the kernel lets go of that, and the workers end as well.

        SIGHUP has each of them read the list of the denied again.

        Raises:
            WorkerError: One ended by itself with an error; the others have been ended with it.
        """
        reading, writing = os.pipe()
        try:
            await self._keep_all_alive(reading)
        finally:
            os.close(reading)
            os.close(writing)
        if self._failed_status is not None:
            raise WorkerError(f"a worker ended by itself, with exit status {self._failed_status}")

    async def _keep_all_alive(self, leash: int) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._pass_signals_on)
            async with anyio.create_task_group() as lives:
                for environment in self._environments:
                    lives.start_soon(self._keep_alive, environment, leash, lives.cancel_scope)
            tasks.cancel_scope.cancel()

    async def _keep_alive(self, environment: Mapping[str, str], leash: int, lives: anyio.CancelScope) -> None:
        while True:
            status = await self._life(environment, leash)
            if self.is_ending:
                return
            if status >= 0:
                self._failed_status = status
                lives.cancel()
                return
            logger.error("a worker was ended by %s: starting another", signal.Signals(-status).name)

    async def _life(self, environment: Mapping[str, str], leash: int) -> int:
        """Run one worker to its end, and tell its exit status; below 0 it is a signal's number."""
        worker = await anyio.open_process(
            [*self._command, "--leash", str(leash)],
            stdin=subprocess.DEVNULL,
            stdout=None,
            stderr=None,
            env=environment,
            # A terminal sends Ctrl-C to all of a session, and each worker is to get it once: from here.
            start_new_session=True,
            pass_fds=[self._listener.fileno(), leash],
        )
        self._workers.add(worker)
        try:
            return await worker.wait()
        finally:
            self._workers.discard(worker)
            if worker.returncode is None:
                # Another one could not start, so that this one is not wanted either.
                worker.terminate()
                with anyio.CancelScope(shield=True):
                    await worker.wait()

    async def _pass_signals_on(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*FORWARDED) as signals:
            task_status.started()
            async for number in signals:
                self.is_ending = self.is_ending or number != signal.SIGHUP
                for worker in self._workers:
                    worker.send_signal(number)


def worker_command() -> list[str]:
    """What a worker runs: this program, on this interpreter. Settings are in its environment."""
    return [sys.executable, "-m", "progress_service", "serve"]


async def until_orphaned(leash: int) -> None:
    """Wait until the supervisor that holds the other end of the pipe *leash* is gone, however it ended."""
    # Nobody writes to it, so it can be read only once it has come to its end.
    await anyio.wait_readable(leash)
    logger.warning("the supervisor is gone: ending")
