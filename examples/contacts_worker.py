"""A worker that enriches CSV files of contacts, that may be killed at any moment, and then goes on.

    pip install '.[demo]'
    export DATABASE_URL=postgresql://…
    python examples/contacts_worker.py examples/contacts.csv --output new.csv --user-id UUID
    python examples/contacts_worker.py examples/contacts.csv --output new.csv --user-id UUID --resume JOB_ID
    python examples/contacts_worker.py --watch inbox --user-id UUID
    python examples/contacts_worker.py examples/contacts.csv --check

The reporting is in `enrich_file`; the rest is what any program around a long job needs. The exit status is 0
when all is done, 1 when the database or the job is not there for it, 2 when what it was given is no good, 3
when a person cancelled the job, and 130 or 143 when a signal stopped it. Whatever happens, the output is
whole or absent. What is finished of it stays in a hidden file beside its place until a worker goes on with it
(`--resume`, or `--watch` by itself) or a person cancels the job.
"""

import json
import signal
import sys
from asyncio import get_running_loop
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
from contacts import ContactFile, UnusableFile, contact_file
from enrichment import enrich
from inbox import Arrival, arrivals, put_away
from order import Order, arguments, label_of, order_of
from results import Result, discard, result_file

from progress_service import InvalidJob, Job, JobCancelled, JobTaken, LeaseLost, StoreUnavailable, UnknownUser

RETRY_SECONDS = 5.0


async def enrich_file(order: Order) -> None:
    """Enrich one file, and let its user see how far it is."""
    with result_file(order.output, order.job_id) as result:
        try:
            async with begun(order) as (job, source):
                result.begin(source, job.cursor)
                async for batch, contacts in order.pace.batches(source.contacts, result.contacts):
                    found = [enrich(contact, order.region) for contact in contacts]
                    result.write(contacts, [enrichment.columns for enrichment in found])
                    failed = sum(1 for enrichment in found if enrichment.faults)
                    await job.advance(
                        completed=len(found) - failed,
                        failed=failed,
                        current_batch=batch,
                        cursor=result.cursor(),
                    )
                # Now, not later: who sees the job completed must find the files. But only if it is ours.
                await job.save()
                if order.summary:
                    write(order.summary, summary_of(job, result))
                result.publish()
        except JobCancelled:
            result.discard()
            raise
    done = job.progress
    print(f"{order.source.name}: {done.completed} enriched, {done.failed} failed; written to {order.output}")


@asynccontextmanager
async def begun(order: Order) -> AsyncIterator[tuple[Job, ContactFile]]:
    """The job and its contacts. If they are unusable, a job that there is by then says so."""
    source = None if order.is_resumed else await new_source(order)
    if source is None:
        claim = Job.resume(order.dsn, order.job_id, user_id=order.user_id, lease_seconds=order.lease_seconds)
    else:
        claim = Job.start(
            order.dsn,
            user_id=order.user_id,
            job_id=order.job_id,
            label=order.label,
            total=len(source.contacts),
            lease_seconds=order.lease_seconds,
        )
    async with claim as job:
        print(f"{order.source.name}: job {job.id}", flush=True)
        try:
            yield job, source or contact_file(order.source)
        except UnusableFile as error:
            await job.fail(for_people(error, order))
            raise


async def new_source(order: Order) -> ContactFile:
    """The contacts. Only a job that somebody waits for is begun to say that they are unusable."""
    try:
        return contact_file(order.source)
    except UnusableFile as error:
        if order.is_awaited:
            async with Job.start(order.dsn, user_id=order.user_id, job_id=order.job_id) as job:
                await job.fail(for_people(error, order))
        raise


def for_people(error: UnusableFile, order: Order) -> str:
    """Whoever reads this on a page knows the files by their names, and not where they lie here."""
    words = str(error)
    for path in (order.source, order.output):
        words = words.replace(str(path), path.name)
    return words


def summary_of(job: Job, result: Result) -> str:
    """How it went, as JSON. A contact with two faults is one that failed, for two reasons."""
    summary = {
        "job_id": str(job.id),
        "contacts": job.progress.total,
        "completed": job.progress.completed,
        "failed": job.progress.failed,
        "reasons": [{"reason": reason, "count": count} for reason, count in result.reasons().most_common()],
    }
    return json.dumps(summary, indent=2, ensure_ascii=False)


async def watch(folder: Path, order: Order) -> None:
    """Enrich each CSV file that comes into *folder*, until cancelled; what came of it goes to `enriched/`.

    A file whose worker was stopped or killed is gone on with, by whichever worker first finds it so.
    """
    results = folder / "enriched"
    results.mkdir(parents=True, exist_ok=True)
    async for arrival in arrivals(folder):
        output = results / arrival.path.name
        piece = replace(
            order,
            source=arrival.path,
            output=output,
            summary=output.with_suffix(".json"),
            job_id=arrival.job_id,
            label=label_of(arrival.path),
        )
        try:
            if await is_done_with(arrival, piece):
                put_away(arrival)
        except StoreUnavailable as error:
            say(f"{error}; trying again in {RETRY_SECONDS:.0f} s")
            await anyio.sleep(RETRY_SECONDS)


async def is_done_with(arrival: Arrival, order: Order) -> bool:
    """Enrich one file, or write beside its place why it cannot be. False if another worker is to do it."""
    try:
        if arrival.was_taken:
            try:
                await enrich_file(replace(order, is_resumed=True))
            except JobTaken as error:
                if error.status is not None:
                    raise
                # Its worker was lost after it took the file and before it began the job.
                await enrich_file(order)
        else:
            await enrich_file(order)
    except LeaseLost as error:
        say(error)
        return False
    except JobTaken as error:
        if error.status is None or not error.status.is_finished:
            # Its worker lives, or will soon be known to be lost.
            return False
        if error.status != "completed":
            say(error)
            write(order.output.with_suffix(".refused.txt"), str(error))
        discard(order.output, order.job_id)
    except (UnusableFile, InvalidJob, JobCancelled) as error:
        say(error)
        write(order.output.with_suffix(".refused.txt"), str(error))
    return True


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


def main() -> int:
    """Do what was typed; the exit status is returned."""
    given = arguments()
    try:
        if given.check:
            print(json.dumps({"contacts": len(contact_file(given.input).contacts)}))
            return 0
        order = order_of(given)
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


def say(what: object) -> None:
    """Tell the person at the terminal."""
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
