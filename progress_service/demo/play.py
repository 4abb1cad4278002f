"""The whole demo in one process: a database with one user, the service, the page, and jobs to look at."""

from collections.abc import Callable
from pathlib import Path

import anyio

from progress_service.api.access import Access
from progress_service.api.cors import Origins
from progress_service.demo.enrichment import WORKER, Enrichment
from progress_service.demo.pages import Pages
from progress_service.demo.simulated import run_jobs
from progress_service.jobs.schema import apply_schema
from progress_service.policies import access_policy
from progress_service.server import listening_socket
from progress_service.service import opened, serve
from progress_service.settings import Settings

USER_ID = "00000000-0000-4000-8000-00000000de30"
"""The demo's one user."""

PREPARE = """
    UPDATE bulk_enrichment_jobs SET status = 'failed', error = 'The demo was stopped while this ran.'
    WHERE user_id = '00000000-0000-4000-8000-00000000de30' AND status IN ('pending', 'running', 'paused');
"""
"""Ends the jobs that a killed demo has left active."""


class DemoError(Exception):
    """The demo cannot run; the text says what to do."""


async def play(
    settings: Settings, dsn: str, schema: str, *, folder: Path, jobs: int, on_start: Callable[[str], None]
) -> None:
    """Run the demo until SIGTERM or SIGINT.

    Args:
        settings: Every setting.
        dsn: The database; the schema is applied to it.
        schema: The text of schema.sql.
        folder: Where uploads and results are kept.
        jobs: How many simulated jobs to keep going.
        on_start: Is told the page's address.

    Raises:
        DemoError: Part of the repository is missing.
    """
    if not WORKER.exists():
        raise DemoError(f"the demo's worker is missing: it needs a checkout of the repository ({WORKER})")
    await apply_schema(dsn, schema)
    await apply_schema(dsn, PREPARE)
    async with anyio.create_task_group() as tasks:
        enrichment = Enrichment(dsn, USER_ID, folder, tasks)
        access = Access(access_policy(settings), Origins(settings.allowed_origins))
        pages = Pages(access, enrichment, USER_ID)
        if jobs:
            tasks.start_soon(run_jobs, dsn, USER_ID, jobs)
        async with opened(settings, dsn, pages.routes()) as service:
            await serve(service, listening_socket(settings.host, settings.port), on_start=on_start)
        tasks.cancel_scope.cancel()
