"""The enriched file while it is written: hidden beside its place, until it is whole.

What is written goes into a partial file that belongs to one worker alone: its name has the job's id and a
word that nobody else has. A job's cursor says how much of which partial file is good. Who goes on with the
job copies that much into a file of its own; so a worker that was only asleep, and writes on, writes where
nobody looks any more.
"""

import codecs
import csv
import io
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from contacts import FOUND, Contact, ContactFile, UnusableFile
from enrichment import FAULT_SEPARATOR

WORD = re.compile(r"[0-9a-f]{16}")
COPY_BYTES = 2**20


class Result:
    """What has been found so far. `result_file` makes it, and `begin` comes first."""

    def __init__(self, path: Path, job_id: UUID, word: str, stream: BinaryIO) -> None:
        self.contacts = 0
        """How many contacts are in it."""
        self.is_needed = False
        """Whether the partial file outlives its worker, since somebody may go on from it."""
        self._path = path
        self._job_id = job_id
        self._word = word
        self._bytes = stream
        self._text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        self._digest = ""
        self._is_published = False

    def begin(self, source: ContactFile, cursor: object) -> None:
        """Begin with the names of the columns, or with what a worker before had finished by its *cursor*.

        Raises:
            UnusableFile: The job was begun with another file, or what was finished of it is gone.
        """
        self._digest = source.digest
        self._is_kept = [name.strip().lower() not in FOUND for name in source.header]
        self._rows = csv.writer(self._text, delimiter=source.delimiter, lineterminator="\n")
        self._delimiter = source.delimiter
        if cursor is not None:
            self._go_on(source, cursor)
            return
        if source.encoding != "utf-8":
            # Excel takes UTF-8 for Windows-1252 unless a byte-order mark tells, so who had one gets one.
            self._bytes.write(codecs.BOM_UTF8)
        self._rows.writerow([*compress(source.header, self._is_kept), *FOUND])

    def write(self, contacts: Iterable[Contact], found: Iterable[Sequence[str]]) -> None:
        """Add contacts, each with what was found on it, in the order of `FOUND`."""
        for contact, columns in zip(contacts, found, strict=True):
            self._rows.writerow([*compress(contact.fields, self._is_kept), *columns])
            self.contacts += 1

    def cursor(self) -> Mapping[str, object]:
        """Where to go on if this worker is lost. All that comes before it is on the disk by then."""
        self._bytes.flush()
        os.fsync(self._bytes.fileno())
        self.is_needed = True
        return {
            "contacts": self.contacts,
            "bytes": self._bytes.tell(),
            "word": self._word,
            "source": self._digest,
        }

    def reasons(self) -> Counter[str]:
        """Why contacts failed, and how many for each reason; also for those of the workers before."""
        self._bytes.flush()
        path = self._path if self._is_published else _partial(self._path, self._job_id, self._word)
        # A line that was too long for a field of CSV is kept whole, in one field.
        usual = csv.field_size_limit(sys.maxsize)
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.DictReader(stream, delimiter=self._delimiter)
                return Counter(
                    fault for row in rows for fault in row["reason"].split(FAULT_SEPARATOR) if fault
                )
        finally:
            csv.field_size_limit(usual)

    def publish(self) -> None:
        """Put the whole file in its place, at once; what other workers left of it is removed."""
        if not self._is_published:
            self._text.close()
            partial = _partial(self._path, self._job_id, self._word)
            discard(self._path, self._job_id, but=partial)
            partial.replace(self._path)
            self._is_published = True
        self.is_needed = False

    def discard(self) -> None:
        """Remove what was found by this worker and those before: nobody will go on."""
        discard(self._path, self._job_id)
        self.is_needed = False

    def _go_on(self, source: ContactFile, cursor: object) -> None:
        """Begin with a copy of what was finished."""
        match cursor:
            case {
                "contacts": int(contacts),
                "bytes": int(size),
                "word": str(word),
                "source": str(digest),
            } if min(contacts, size) >= 0:
                pass
            case _:
                raise UnusableFile(f"job {self._job_id} is not this program's: its cursor is {cursor!r:.80}.")
        if digest != source.digest:
            raise UnusableFile(f"job {self._job_id} was begun with another file than this. Start a new job.")
        # A cursor is as trustworthy as whoever may write the row, so it does not name files.
        before = _partial(self._path, self._job_id, word) if WORD.fullmatch(word) else None
        if before is not None and before.is_file() and before.stat().st_size >= size:
            with before.open("rb") as stream:
                while chunk := stream.read(min(COPY_BYTES, size - self._bytes.tell())):
                    self._bytes.write(chunk)
        elif contacts == len(source.contacts) and self._path.is_file():
            # The worker before had published it, and was lost before it could say so.
            self._is_published = True
        else:
            raise UnusableFile(
                f"what was finished of job {self._job_id} is no longer beside {self._path}. Start a new job."
            )
        self.contacts = contacts


def discard(path: Path, job_id: UUID, *, but: Path | None = None) -> None:
    """Remove what workers on a job have found for *path*, but for one partial file."""
    for partial in path.parent.glob(f".{job_id}.*.partial"):
        if partial != but:
            partial.unlink(missing_ok=True)


@contextmanager
def result_file(path: Path, job_id: UUID) -> Iterator[Result]:
    """Write a result for *path*. What is left unfinished stays only where a cursor has told of it.

    Raises:
        UnusableFile: The file system refuses it.
    """
    if path.is_dir():
        raise UnusableFile(f"{path} is a folder; name a file in it.")
    word = secrets.token_hex(8)
    partial = _partial(path, job_id, word)
    result = None
    try:
        with partial.open("xb") as stream:
            result = Result(path, job_id, word, stream)
            yield result
    except OSError as error:
        if result is not None and not partial.exists():
            # This worker was asleep between asking whether the job is its own and publishing.
            raise UnusableFile(
                f"what this worker found for {path} is gone: another one has finished the job."
            ) from error
        refused = path if error.filename in (None, str(partial)) else error.filename
        raise UnusableFile(f"{refused} cannot be written: {error.strerror or error}.") from error
    finally:
        if result is None or not result.is_needed:
            partial.unlink(missing_ok=True)


def _partial(path: Path, job_id: UUID, word: str) -> Path:
    return path.with_name(f".{job_id}.{word}.partial")
