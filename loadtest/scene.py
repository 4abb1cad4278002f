"""A made-up world for services that follow a database: a PostgreSQL, people, and their jobs.

People and jobs are numbered, and their ids say the number, so that whoever reads a frame knows whose it has
to be.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from loadtest.clockwork import TOTAL
from loadtest.peers.peer import processor_seconds
from loadtest.postgres import connected
from progress_service.embedded import embedded_postgres

SETTINGS = {"max_connections": "100"}
NEW_JOBS = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, status, progress)
    SELECT id, owner, 'running',
        jsonb_build_object('total', $3::int, 'completed', 0, 'failed', 0, 'current_batch', 0)
    FROM unnest($1::uuid[], $2::uuid[]) AS fresh (id, owner)
"""


def person_id(number: int) -> str:
    """The id of that person."""
    return f"00000000-0000-4000-a000-{number:012d}"


def job_id(number: int) -> str:
    """The id of that job."""
    return f"00000000-0000-4000-8000-{number:012d}"


@dataclass(frozen=True, slots=True)
class People:
    """So many people, each with as many jobs."""

    count: int
    jobs_each: int = 1

    @property
    def jobs(self) -> Sequence[str]:
        """The ids of all jobs, the first person's first."""
        return [job_id(number) for number in range(self.count * self.jobs_each)]

    def jobs_of(self, person: int) -> Sequence[str]:
        """The ids of that person's jobs."""
        return [job_id(person * self.jobs_each + number) for number in range(self.jobs_each)]

    def owner(self, job: str) -> int:
        """Whose job it is, and -1 for an id that is none of ours."""
        number = job_number(job)
        return number // self.jobs_each if number >= 0 else -1


def job_number(job: str) -> int:
    """The number of the job with that id, and -1 for an id that is none of ours."""
    number = int(job[24:]) if job[24:].isdecimal() else -1
    return number if job == job_id(number) else -1


class World:
    """A PostgreSQL of one's own. `world` makes one."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.log = folder / "cluster" / "server.log"
        self._dsn = dsn
        process = int((folder / "cluster" / "postmaster.pid").read_text().split()[0])
        self._server = psutil.Process(process)

    def database(self, name: str, sql: str) -> str:
        """A new database with that schema; returns its address."""
        name = re.sub(r"\W", "_", name)
        address = re.sub(r"/[^/?]*(?=\?)", f"/{name}", self._dsn, count=1)
        anyio.run(_made, self._dsn, name, address, sql)
        return address

    @property
    def seconds(self) -> float:
        """What PostgreSQL's processes, those that live, have taken of processors."""
        seconds = 0.0
        for process in (self._server, *self._server.children()):
            # A process can end between the list and the question.
            with suppress(psutil.NoSuchProcess):
                seconds += processor_seconds(process)
        return seconds


@contextmanager
def world(**settings: str) -> Iterator[World]:
    """Run PostgreSQL, which waits for the disk at each commit, with more *settings* of its own."""
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        place = Path(folder)
        with embedded_postgres(place, settings=SETTINGS | settings) as dsn:
            yield World(place, dsn)


def populate(dsn: str, people: People) -> None:
    """Put these people's jobs into the table, new, and nothing else; nothing is left to be done for it."""
    anyio.run(_populated, dsn, people)


async def _made(dsn: str, name: str, address: str, sql: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute(f'CREATE DATABASE "{name}"')
    async with connected(address) as connection:
        await connection.execute(sql)


async def _populated(dsn: str, people: People) -> None:
    jobs = people.jobs
    owners = [person_id(people.owner(job)) for job in jobs]
    async with connected(dsn) as connection:
        await connection.execute("TRUNCATE bulk_enrichment_jobs")
        await connection.execute(NEW_JOBS, jobs, owners, TOTAL)
        await connection.execute("VACUUM ANALYZE bulk_enrichment_jobs")
        await connection.execute("CHECKPOINT")
