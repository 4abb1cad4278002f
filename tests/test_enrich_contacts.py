"""The example to copy, as a process of its own: its user watches, and pauses, resumes and cancels it."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tests.running import Browser, Running, bearer, ready, watching
from tests.stage import SAMPLE, TRACKING, Stage, staged

pytestmark = pytest.mark.anyio

MANY = 150_000
"""More contacts than any machine enriches before the person has pressed all buttons."""


@pytest.fixture
async def stage(dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """What a test of the example needs."""
    async with staged(dsn, tmp_path) as stage:
        yield stage


class Person:
    """Someone at a page, who presses buttons and watches the bar."""

    def __init__(self, service: Running, browser: Browser, stage: Stage) -> None:
        self._service = service
        self._browser = browser
        self._user_id = stage.user_id

    async def sees(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame from now on that tells of a job that is so."""
        seen = len(self._browser.named("job"))

        def matching() -> list[dict[str, Any]]:
            return [job for job in self._browser.named("job")[seen:] if condition(job)]

        await self._browser.until(lambda: bool(matching()))
        return matching()[0]

    async def presses(self, command: str, job_id: str, status: str) -> dict[str, Any]:
        """What is seen once the worker has done as it was told."""
        frames: list[dict[str, Any]] = []

        async def watch() -> None:
            frames.append(await self.sees(lambda job: job["status"] == status and job["requested"] is None))

        pressed_at = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            answer = await self._service.http.post(
                f"/v1/jobs/{job_id}/{command}", headers=bearer(self._user_id)
            )
            assert answer.status_code == httpx.codes.OK
        print(f"{command}: on the stream after {time.monotonic() - pressed_at:.3f} s")  # noqa: T201
        return frames[0]


async def test_the_example_is_paused_resumed_and_cancelled_while_it_runs(stage: Stage) -> None:
    """A worker of thirty lines, which never waits for anything, obeys its user within a second."""
    output = stage.folder / "enriched.csv"
    source = stage.long_list(MANY)
    async with (
        ready(stage.dsn) as service,
        watching(service.http, stage.user_id) as browser,
        stage.worker(source, output, stage.user_id, program=TRACKING) as worker,
    ):
        person = Person(service, browser, stage)
        job = await person.sees(lambda job: job["progress"]["completed"] > 0)
        assert (job["label"], job["progress"]["total"]) == ("long.csv", MANY)

        paused = await person.presses("pause", job["id"], "paused")
        # Two further pulses of the worker, which would tell of more had it gone on.
        for _ in range(2):
            await stage.until_beat()
        [row] = await stage.jobs()
        assert row["progress"]["completed"] == paused["progress"]["completed"]

        await person.presses("resume", job["id"], "running")
        going_on = await person.sees(
            lambda job: job["progress"]["completed"] > paused["progress"]["completed"]
        )
        assert going_on["status"] == "running"

        cancelled = await person.presses("cancel", job["id"], "cancelled")
        assert cancelled["progress"]["completed"] < MANY
        with anyio.fail_after(10):
            assert await worker.wait() == 1
        assert worker.stderr is not None
        assert b"is to be cancelled" in await worker.stderr.receive()


async def test_the_example_enriches_the_sample(stage: Stage) -> None:
    """Who copies it starts from something that works."""
    output = stage.folder / "enriched.csv"
    async with stage.worker(SAMPLE, output, stage.user_id, program=TRACKING) as worker:
        with anyio.fail_after(30):
            assert await worker.wait() == 0
    [job] = await stage.jobs()
    assert (job["status"], job["progress"]["completed"]) == ("completed", 200)
    rows = stage.rows()
    assert (len(rows), rows[0]["outcome"]) == (200, "enriched")


def test_the_example_stays_an_example() -> None:
    """About thirty lines, of which one is about progress: what is longer, nobody copies."""
    lines = TRACKING.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert sum("track(" in line for line in lines) == 1
