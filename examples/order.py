"""What the contacts worker is told to do: its command line, checked and as one value."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from enrichment import REGIONS
from pace import Pace, pace

from progress_service.jobs.reporter import LEASE_SECONDS

LABEL_CHARACTERS_MAX = 200
LEASE_SECONDS_MAX = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be enriched, for whom, and how.

    `is_awaited` says that somebody made the job beforehand and waits for it; `is_resumed` that a worker
    before has begun it.
    """

    source: Path
    output: Path
    summary: Path | None
    dsn: str
    user_id: UUID
    job_id: UUID
    label: str | None
    lease_seconds: float
    region: str
    pace: Pace
    is_awaited: bool = False
    is_resumed: bool = False


def arguments() -> argparse.Namespace:
    """What was typed, checked as far as it can be without opening anything."""
    parser = argparse.ArgumentParser(description="Enriches CSV files of contacts, with live progress.")
    parser.add_argument("input", nargs="?", type=Path, help="CSV with the columns name, email and phone")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the enriched CSV goes")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="where counts and reasons go, as JSON")
    parser.add_argument("--check", action="store_true", help="only tell whether the input is usable")
    parser.add_argument("--watch", type=Path, metavar="FOLDER", help="take each CSV that comes into a folder")
    parser.add_argument("--user-id", type=UUID, help="whose job it is")
    jobs = parser.add_mutually_exclusive_group()
    jobs.add_argument("--job-id", type=UUID, help="of a pending job that this is the work for")
    jobs.add_argument("--resume", type=UUID, metavar="JOB_ID", help="of a job that stopped, to go on with")
    parser.add_argument("--label", help="what people call the job (the file's name)")
    parser.add_argument("--dsn", default=os.environ.get("DATABASE_URL"), help="of PostgreSQL ($DATABASE_URL)")
    parser.add_argument(
        "--lease",
        type=lease_seconds,
        default=LEASE_SECONDS,
        metavar="SECONDS",
        help=f"of silence, after which this worker counts as lost ({LEASE_SECONDS:.0f})",
    )
    parser.add_argument("--region", default="US", type=str.upper, help="of numbers without country code (US)")
    paces = parser.add_mutually_exclusive_group()
    paces.add_argument("--pace", type=pace, metavar="NUMBER", help="contacts a second (as many as possible)")
    paces.add_argument("--pace-file", type=Path, metavar="FILE", help="holds the pace, may change on the way")
    given = parser.parse_args()
    if (given.input is None) == (given.watch is None):
        parser.error("give either a CSV file or --watch FOLDER")
    about_one_file = ("check", "output", "summary", "job_id", "resume", "label")
    if given.watch and any(getattr(given, name) for name in about_one_file):
        parser.error(
            "--check, --output, --summary, --job-id, --resume and --label are about one file, not a folder"
        )
    if not given.check:
        needed = {"--output": given.output or given.watch, "--user-id": given.user_id}
        if missing := [option for option, value in needed.items() if value is None]:
            parser.error(f"{' and '.join(missing)} must be given")
        if not given.dsn:
            parser.error("no database: give --dsn, or set DATABASE_URL")
        if given.output and given.input and given.output.absolute() == given.input.absolute():
            parser.error("--output is the input itself; name another file")
    if given.region not in REGIONS:
        parser.error(f"--region {given.region}: no such region; it is two letters, such as US, DE or IN")
    return given


def order_of(given: argparse.Namespace) -> Order:
    """What is to be done by these arguments; of a folder, what is the same for each file in it."""
    return Order(
        source=given.input or given.watch,
        output=given.output or given.watch,
        summary=given.summary,
        dsn=given.dsn,
        user_id=given.user_id,
        job_id=given.job_id or given.resume or uuid4(),
        label=given.label or (None if given.job_id else label_of(given.input or given.watch)),
        lease_seconds=given.lease,
        region=given.region,
        pace=Pace(given.pace, given.pace_file),
        is_awaited=given.job_id is not None,
        is_resumed=given.resume is not None,
    )


def label_of(path: Path) -> str:
    """The name of the file as a label; on POSIX it may be any bytes, and of any length."""
    return os.fsencode(path.name).decode(errors="replace")[:LABEL_CHARACTERS_MAX]


def lease_seconds(text: str) -> float:
    """The length of a lease that someone wrote.

    Raises:
        ValueError: It is not a number above 0, or longer than a year.
    """
    number = float(text)
    if not 0 < number <= LEASE_SECONDS_MAX:
        raise ValueError(f"{text!r} is not a lease: it lasts more than 0 seconds, and at most a year")
    return number
