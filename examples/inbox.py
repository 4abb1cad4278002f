"""A folder as an inbox: files that come into it are found, and taken by moving them to `taken/` in it."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

LOOK_SECONDS = 0.5


async def arrivals(folder: Path) -> AsyncIterator[Path]:
    """The CSV files in *folder*, for ever: each once it no longer grows, and again while it is there."""
    sizes: dict[Path, int] = {}
    while True:
        sizes_before, sizes = sizes, _csv_sizes(folder)
        for path, size in sizes.items():
            if sizes_before.get(path) == size:
                yield path
        await anyio.sleep(LOOK_SECONDS)


@contextmanager
def taken(path: Path) -> Iterator[Path | None]:
    """Where a file is now that it is ours; None if another worker was quicker, for only one can move it.

    It goes back if the block is left by an exception, so that it will be taken again.
    """
    place = path.parent / "taken" / path.name
    place.parent.mkdir(exist_ok=True)
    try:
        path.rename(place)
    except FileNotFoundError:
        yield None
        return
    try:
        yield place
    except BaseException:
        place.rename(path)
        raise


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
