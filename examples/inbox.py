"""A folder as an inbox of CSV files, which several workers may share, and from which no file is lost.

    inbox/contacts.csv                     has come, and nobody has it yet
    inbox/working/<job's id>/contacts.csv  somebody works on it, or was lost in the middle of that
    inbox/taken/contacts.csv               is done with

Taking a file is one rename, which only one worker can make, and which tells whoever finds it later the job.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import anyio

LOOK_SECONDS = 0.5
LOST_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is to be worked on, or that `was_taken` before, and whose worker may yet be at work."""

    job_id: UUID
    path: Path
    was_taken: bool


async def arrivals(folder: Path) -> AsyncIterator[Arrival]:
    """What there is to do, for ever: each new file once it no longer grows, and what was left in the middle.

    The latter come first, and again every few seconds until they are put away, since nobody here can know
    whether their worker is alive.
    """
    sizes: dict[Path, int] = {}
    lost_look_at = time.monotonic()
    while True:
        if time.monotonic() >= lost_look_at:
            for arrival in _taken_before(folder):
                yield arrival
            lost_look_at = time.monotonic() + LOST_LOOK_SECONDS
        sizes_before, sizes = sizes, _csv_sizes(folder)
        for path, size in sizes.items():
            if sizes_before.get(path) == size and (taken := _taken(path)):
                yield taken
        await anyio.sleep(LOOK_SECONDS)


def put_away(arrival: Arrival) -> None:
    """Nothing is left to do for it."""
    done = arrival.path.parents[2] / "taken"
    done.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        arrival.path.replace(done / arrival.path.name)
        arrival.path.parent.rmdir()


def _taken(path: Path) -> Arrival | None:
    """The file, now that it is ours; None if another worker was quicker."""
    job_id = uuid4()
    place = path.parent / "working" / str(job_id)
    place.mkdir(parents=True)
    try:
        path.rename(place / path.name)
    except FileNotFoundError:
        place.rmdir()
        return None
    return Arrival(job_id, place / path.name, was_taken=False)


def _taken_before(folder: Path) -> Iterator[Arrival]:
    """What lies in working/. A worker that takes or puts away at this moment may leave a folder empty."""
    for place in sorted((folder / "working").glob("*/*")):
        with suppress(ValueError):
            yield Arrival(UUID(place.parent.name), place, was_taken=True)


def _csv_sizes(folder: Path) -> dict[Path, int]:
    """The CSV files of a folder, by name, with their sizes in bytes."""
    sizes = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.lower().endswith(".csv") and not entry.name.startswith(".") and entry.is_file():
                # Another worker may have taken it by now.
                with suppress(FileNotFoundError):
                    sizes[Path(entry.path)] = entry.stat().st_size
    return sizes
