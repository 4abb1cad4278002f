"""Whose tokens are refused though they are good: a list in a file, which takes effect within a second.

A token that was issued cannot be taken back, but a login service that ends an account needs it to be. The
file has one `sub` a line; what follows `#` is a remark. It is read again when it has changed, and when the
process gets SIGHUP. Replace it by renaming a new one over it, as every careful program does.
"""

import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from progress_service.api.tokens import is_user_id

__all__ = ["Denials"]

LOOK_SECONDS: Final = 0.25
FILE_BYTES_MAX: Final = 16_777_216
"""Some 400,000 users; a list that has become longer should become shorter tokens."""

logger = logging.getLogger(__name__)

Version = tuple[int, int, int]


class Denials:
    """The users in a file whom nothing is to be told.

    Args:
        path: The file; None denies nobody.
        end_streams: Is called with everybody on the list whenever that has been read.
    """

    def __init__(self, path: Path | None, *, end_streams: Callable[[Collection[str]], None]) -> None:
        self.path = path
        self._end_streams = end_streams
        self._denied: frozenset[str] = frozenset()
        self._version: Version | None = None
        self._is_readable = True
        self._nudge = anyio.Event()

    def denies(self, user_id: str) -> bool:
        """Whether that user is on the list."""
        return user_id in self._denied

    def load(self) -> None:
        """Read the file now, before anybody is let in.

        Raises:
            OSError: It cannot be read, or is longer than `FILE_BYTES_MAX`.
        """
        if self.path is not None:
            self._version, self._denied = _read(self.path)

    def reload(self) -> None:
        """Have the file read again soon, changed or not."""
        self._version = None
        self._nudge.set()

    async def run(self) -> None:
        """Follow the file until cancelled. While it cannot be read, the list stays as it was."""
        if self.path is None:
            return
        while True:
            self._nudge = anyio.Event()
            await self._look(self.path)
            with anyio.move_on_after(LOOK_SECONDS):
                await self._nudge.wait()

    async def _look(self, path: Path) -> None:
        try:
            if await anyio.to_thread.run_sync(_version, path) != self._version:
                self._version, self._denied = await anyio.to_thread.run_sync(_read, path)
                logger.info("%d users are denied (%s)", len(self._denied), path)
                self._end_streams(self._denied)
        except OSError as error:
            if self._is_readable:
                logger.error("%s cannot be read; the users that it had stay denied: %s", path, error)  # noqa: TRY400
            self._is_readable = False
        else:
            self._is_readable = True


def _version(path: Path) -> Version:
    """What tells one content of the file from the next without reading it."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> tuple[Version, frozenset[str]]:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        text = file.read(FILE_BYTES_MAX + 1)
    if len(text) > FILE_BYTES_MAX:
        raise OSError(f"it has more than {FILE_BYTES_MAX} bytes")
    denied = set()
    for number, line in enumerate(text.decode(errors="replace").splitlines(), start=1):
        subject = line.partition("#")[0].strip().lower()
        if is_user_id(subject):
            denied.add(subject)
        elif subject:
            logger.error("line %d of %s is no user's UUID, so it denies nobody", number, path)
    return (found.st_mtime_ns, found.st_size, found.st_ino), frozenset(denied)
