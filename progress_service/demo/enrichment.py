"""Uploaded lists of contacts, and the worker process that enriches each of them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
from anyio.abc import Process, TaskGroup

from progress_service.api.problems import Problem
from progress_service.core.model import Status

WORKER = Path(__file__).parents[2] / "examples" / "contacts_worker.py"
SAMPLE = WORKER.with_name("contacts.csv")
RUNS_MAX = 50
"""How many uploads are remembered; the oldest that has ended makes room."""
RUNNING_MAX = 8
CHECK_SECONDS_MAX = 20
STOP_SECONDS_MAX = 5
LABEL_CHARACTERS_MAX = 120


@dataclass(slots=True)
class Run:
    """One uploaded list, and how far its worker is."""

    id: str
    name: str
    contacts: int
    folder: Path
    status: Status = Status.RUNNING
    error: str | None = None

    @property
    def source(self) -> Path:
        """The list as it was uploaded."""
        return self.folder / f"{self.id}.csv"

    @property
    def result(self) -> Path:
        """The enriched list."""
        return self.folder / f"{self.id}.enriched.csv"

    @property
    def summary(self) -> Path:
        """What the worker says about its result."""
        return self.folder / f"{self.id}.summary.json"

    def view(self) -> dict[str, Any]:
        """What the page shows of it."""
        said = json.loads(self.summary.read_bytes()) if self.summary.exists() else {}
        # The worker publishes its files, then ends the job, then itself: a page that hears of the end of the
        # job asks at once, and must not be told that the process is still running.
        is_done = self.result.exists()
        return {
            "id": self.id,
            "name": self.name,
            "status": Status.COMPLETED if is_done else self.status,
            "contacts": self.contacts,
            "completed": said.get("completed"),
            "failed": said.get("failed"),
            "reasons": said.get("reasons", []),
            "error": self.error,
            "download": f"/demo/results/{self.id}.csv" if is_done else None,
        }


class Enrichment:
    """Starts a worker process for each list, and keeps what comes of it.

    Args:
        dsn: Handed to the workers, in their environment.
        user_id: Whose jobs they are.
        folder: Where lists and results are kept.
        tasks: Owns the waiting for the workers; when it is cancelled they are ended.
    """

    def __init__(self, dsn: str, user_id: str, folder: Path, tasks: TaskGroup) -> None:
        self._dsn = dsn
        self._user_id = user_id
        self._folder = folder
        self._tasks = tasks
        self._runs: dict[str, Run] = {}
        self._pace = folder / "pace"
        folder.mkdir(parents=True, exist_ok=True)

    def set_pace(self, contacts_per_second: float) -> None:
        """How fast every worker goes from now on, also those that run already."""
        written = self._pace.with_suffix(".new")
        written.write_text(f"{contacts_per_second:g}")
        written.replace(self._pace)

    def results(self) -> list[dict[str, Any]]:
        """What has been uploaded and what came of it, the newest first."""
        return [run.view() for run in reversed(self._runs.values())]

    def result(self, run_id: str) -> Run | None:
        """A run that has a result."""
        run = self._runs.get(run_id)
        return run if run is not None and run.result.exists() else None

    async def begin(self, name: str, content: bytes) -> Run:
        """Check a list and start a worker on it.

        Raises:
            Problem: It is not a list of contacts, or enough of them are under way.
        """
        running = sum(run.status is Status.RUNNING for run in self._runs.values())
        if running >= RUNNING_MAX:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Busy",
                f"{running} lists are being enriched. Wait for one to finish.",
                slug="demo-busy",
            )
        run = Run(str(uuid4()), _presentable(name), 0, self._folder)
        run.source.write_bytes(content)
        try:
            run.contacts = await self._checked(run)
        except Problem:
            run.source.unlink()
            raise
        self._remember(run)
        self._tasks.start_soon(self._work, run)
        return run

    async def _checked(self, run: Run) -> int:
        """How many contacts the list has, as the worker itself counts them."""
        with anyio.fail_after(CHECK_SECONDS_MAX):
            checked = await anyio.run_process(
                [sys.executable, str(WORKER), str(run.source), "--check"], check=False
            )
        if checked.returncode != 0:
            sentence = _sentence(checked.stderr).replace(str(run.source), run.name)
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Not a list of contacts", sentence, slug="not-contacts"
            )
        return int(json.loads(checked.stdout)["contacts"])

    async def _work(self, run: Run) -> None:
        command = [sys.executable, str(WORKER), str(run.source), "--output", str(run.result)]
        command += ["--summary", str(run.summary), "--pace-file", str(self._pace)]
        command += ["--user-id", self._user_id, "--job-id", run.id, "--label", run.name]
        async with await anyio.open_process(
            command, env=os.environ | {"DATABASE_URL": self._dsn}, stdout=subprocess.DEVNULL
        ) as worker:
            try:
                complaint = await _complaint(worker)
            except anyio.get_cancelled_exc_class():
                # A worker that is asked to stop ends its job first; one that is killed cannot.
                with anyio.move_on_after(STOP_SECONDS_MAX, shield=True):
                    worker.terminate()
                    await worker.wait()
                raise
        if worker.returncode == 0:
            run.status = Status.COMPLETED
        else:
            run.status = Status.FAILED
            run.error = complaint or f"The worker ended with exit code {worker.returncode}."

    def _remember(self, run: Run) -> None:
        self._runs[run.id] = run
        ended = [each for each in self._runs.values() if each.status is not Status.RUNNING]
        for old in ended[: max(0, len(self._runs) - RUNS_MAX)]:
            del self._runs[old.id]
            for path in (old.source, old.result, old.summary):
                path.unlink(missing_ok=True)


async def _complaint(worker: Process) -> str:
    """What the worker said on its way, once it has ended."""
    said = bytearray()
    if worker.stderr is not None:
        async for chunk in worker.stderr:
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
            said += chunk
            del said[:-4096]
    await worker.wait()
    return _sentence(bytes(said))


def _sentence(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return re.sub(r"^contacts_worker(\.py)?: (error: )?", "", lines[-1]) if lines else ""


def _presentable(name: str) -> str:
    """A file's name as a label: without folders, control characters, or undue length."""
    plain = "".join(character for character in Path(name).name if character.isprintable())
    return plain[:LABEL_CHARACTERS_MAX] or "contacts.csv"
