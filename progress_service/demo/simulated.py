"""Jobs that nobody asked for, at many paces, some of which fail: a page full of them to look at."""

import random
from uuid import uuid4

import anyio

from progress_service.jobs.reporter import Job

CAMPAIGNS = (
    "Spring leads",
    "Newsletter",
    "Trade fair",
    "Webinar guests",
    "Trial users",
    "Partners",
    "Renewals",
)
REGIONS = ("EMEA", "Nordics", "DACH", "Iberia", "APAC", "Americas", "Benelux")
FAILURES = ("The enrichment provider answered 503 five times.", "The licence for this source has ended.")


async def run_jobs(dsn: str, user_id: str, count: int) -> None:
    """Keep *count* jobs of the user going until cancelled; when one ends another begins."""
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(_one_after_another, dsn, user_id)


async def _one_after_another(dsn: str, user_id: str) -> None:
    chance = random.Random(uuid4().int)  # noqa: S311 - a show, not a secret.
    while True:
        await anyio.sleep(chance.uniform(0, 8))
        label = f"{chance.choice(CAMPAIGNS)} {chance.choice(REGIONS)}"
        total = chance.choice((40, 120, 250, 600, 1_500))
        async with Job.start(dsn, user_id=user_id, total=total, label=label) as job:
            await _pretend(job, chance)


async def _pretend(job: Job, chance: random.Random) -> None:
    """Work on batches of contacts that are not there."""
    seconds_per_batch = chance.uniform(0.2, 1.5)
    doomed_batch = chance.randint(2, 40) if chance.random() < 0.15 else None  # noqa: PLR2004 - one in seven.
    batch = 0
    while (left := job.progress.total - job.progress.completed - job.progress.failed) > 0:
        batch += 1
        await anyio.sleep(seconds_per_batch * chance.uniform(0.5, 1.5))
        if batch == doomed_batch:
            await job.fail(chance.choice(FAILURES))
            return
        size = min(left, 20)
        failed = sum(chance.random() < 0.03 for _ in range(size))  # noqa: PLR2004 - three in a hundred.
        await job.advance(completed=size - failed, failed=failed, current_batch=batch)
