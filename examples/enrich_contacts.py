"""A worker that enriches CSV files of contacts and reports on it: the example to copy the reporting from.

    python examples/enrich_contacts.py contacts.csv --output enriched.csv --user-id UUID
    python examples/enrich_contacts.py --watch inbox --user-id UUID
    python examples/enrich_contacts.py contacts.csv --check

The reporting is in `enrich_file`; the rest is what any program around a long job needs. The exit status is 0
when all is done, 1 when the database or the job is not there for it, 2 when what it was given is no good, 3
when a person cancelled the job, and 130 or 143 when a signal stopped it. Whatever happens, the output is
whole or absent.
"""

import argparse
import json
import os
import signal
import sys
from asyncio import get_running_loop
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import anyio
from contacts import ContactFile, UnusableFile, contact_file, result_file
from enrichment import REGIONS, enrich
from inbox import arrivals, taken
from pace import Pace, pace

from progress_service import InvalidJob, Job, JobCancelled, JobTaken, LeaseLost, StoreUnavailable, UnknownUser

RETRY_SECONDS = 5.0
LABEL_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be enriched, for whom, and how."""

    source: Path
    output: Path
    summary: Path | None
    dsn: str
    user_id: UUID
    job_id: UUID | None
    label: str | None
    region: str
    pace: Pace


async def enrich_file(order: Order) -> None:
    """Enrich one file, and let its user see how far it is."""
    source = await source_file(order)
    total, faults = len(source.contacts), Counter[str]()
    with result_file(source, order.output) as result:
        async with Job.start(
            order.dsn, user_id=order.user_id, job_id=order.job_id, label=order.label, total=total
        ) as job:
            async for batch, contacts in order.pace.batches(source.contacts):
                found = [enrich(contact, order.region) for contact in contacts]
                result.write(contacts, [enrichment.columns for enrichment in found])
                faults.update(fault for enrichment in found for fault in enrichment.faults)
                failed = sum(1 for enrichment in found if enrichment.faults)
                await job.advance(completed=len(found) - failed, failed=failed, current_batch=batch)
            # Now, not later: who sees the job completed must find the files.
            if order.summary:
                write(order.summary, summary_of(job, faults))
            result.publish()
    done = job.progress
    print(f"{order.source.name}: {done.completed} enriched, {done.failed} failed; written to {order.output}")


async def source_file(order: Order) -> ContactFile:
    """The contacts. A job that waits for them is told if they are unusable."""
    try:
        return contact_file(order.source)
    except UnusableFile as error:
        if order.job_id:
            async with Job.start(order.dsn, user_id=order.user_id, job_id=order.job_id) as job:
                # Whoever reads this knows the file by its name, and not where it lies here.
                await job.fail(str(error).replace(str(order.source), order.source.name))
        raise


def summary_of(job: Job, faults: Counter[str]) -> str:
    """How it went, as JSON. A contact with two faults is one that failed, for two reasons."""
    summary = {
        "job_id": str(job.id),
        "contacts": job.progress.total,
        "completed": job.progress.completed,
        "failed": job.progress.failed,
        "reasons": [{"reason": fault, "count": count} for fault, count in faults.most_common()],
    }
    return json.dumps(summary, indent=2, ensure_ascii=False)


async def watch(folder: Path, order: Order) -> None:
    """Enrich each CSV file that comes into *folder*, until cancelled; what came of it goes to `enriched/`.

    A file whose work was stopped, or could not begin, is taken again.
    """
    results = folder / "enriched"
    results.mkdir(parents=True, exist_ok=True)
    async for path in arrivals(folder):
        output = results / path.name
        try:
            with taken(path) as source:
                if source:
                    summary, label = output.with_suffix(".json"), label_of(path)
                    await enrich_or_refuse(
                        replace(order, source=source, output=output, summary=summary, label=label)
                    )
        except StoreUnavailable as error:
            say(f"{error}; trying again in {RETRY_SECONDS:.0f} s")
            await anyio.sleep(RETRY_SECONDS)


async def enrich_or_refuse(order: Order) -> None:
    """Enrich one file, or write beside its place why it cannot be."""
    try:
        await enrich_file(order)
    except (UnusableFile, InvalidJob, JobTaken, JobCancelled, LeaseLost) as error:
        say(error)
        write(order.output.with_suffix(".refused.txt"), str(error))


def write(path: Path, text: str) -> None:
    """Write a small text file."""
    path.write_text(f"{text}\n", encoding="utf-8")


async def until_stopped(work: Coroutine[None, None, None]) -> int:
    """Do *work*; a signal cancels it. The exit status is that of a shell's for such an end."""
    stopped_by = signal.SIGTERM
    with anyio.CancelScope() as scope:

        def stop(signum: signal.Signals) -> None:
            nonlocal stopped_by
            stopped_by = signum
            scope.cancel()

        for signum in (signal.SIGINT, signal.SIGTERM):
            get_running_loop().add_signal_handler(signum, stop, signum)
        await work
        return 0
    return 128 + stopped_by


def arguments() -> argparse.Namespace:
    """What was typed, checked as far as it can be without opening anything."""
    parser = argparse.ArgumentParser(description="Enriches CSV files of contacts, with live progress.")
    parser.add_argument("input", nargs="?", type=Path, help="CSV with the columns name, email and phone")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the enriched CSV goes")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="where counts and reasons go, as JSON")
    parser.add_argument("--check", action="store_true", help="only tell whether the input is usable")
    parser.add_argument("--watch", type=Path, metavar="FOLDER", help="take each CSV that comes into a folder")
    parser.add_argument("--user-id", type=UUID, help="whose job it is")
    parser.add_argument("--job-id", type=UUID, help="of a pending job that this is the work for")
    parser.add_argument("--label", help="what people call the job (the file's name)")
    parser.add_argument("--dsn", default=os.environ.get("DATABASE_URL"), help="of PostgreSQL ($DATABASE_URL)")
    parser.add_argument("--region", default="US", type=str.upper, help="of numbers without country code (US)")
    paces = parser.add_mutually_exclusive_group()
    paces.add_argument("--pace", type=pace, metavar="NUMBER", help="contacts a second (as many as possible)")
    paces.add_argument("--pace-file", type=Path, metavar="FILE", help="holds the pace, may change on the way")
    given = parser.parse_args()
    if (given.input is None) == (given.watch is None):
        parser.error("give either a CSV file or --watch FOLDER")
    if given.watch and (given.check or given.output or given.summary or given.job_id or given.label):
        parser.error("--check, --output, --summary, --job-id and --label are about one file, not a folder")
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


def main() -> int:
    """Do what was typed; the exit status is returned."""
    given = arguments()
    try:
        if given.check:
            print(json.dumps({"contacts": len(contact_file(given.input).contacts)}))
            return 0
        order = Order(
            source=given.input or given.watch,
            output=given.output or given.watch,
            summary=given.summary,
            dsn=given.dsn,
            user_id=given.user_id,
            job_id=given.job_id,
            label=given.label or (None if given.job_id else label_of(given.input or given.watch)),
            region=given.region,
            pace=Pace(given.pace, given.pace_file),
        )
        work = watch(given.watch, order) if given.watch else enrich_file(order)
        return anyio.run(until_stopped, work)
    except (UnusableFile, UnknownUser, InvalidJob) as error:
        say(error)
        return 2
    except OSError as error:
        say(f"{error.filename}: {error.strerror}")
        return 2
    except JobCancelled as error:
        say(error)
        return 3
    except (StoreUnavailable, JobTaken, LeaseLost) as error:
        say(error)
        return 1


def label_of(path: Path) -> str:
    """The name of the file as a label; on POSIX it may be any bytes, and of any length."""
    return os.fsencode(path.name).decode(errors="replace")[:LABEL_CHARACTERS_MAX]


def say(what: object) -> None:
    """Tell the person at the terminal."""
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
