"""A CSV file of contacts: read with care, or refused in one sentence that says where and what would be right.

The first line names the columns `name`, `email` and `phone`, in any case and order; other columns are kept.
Fields are divided by commas, semicolons or tabs. The text is UTF-8, with or without a byte-order mark, or
else Windows-1252, which is what Excel in western Europe and the Americas saves as "CSV". A line that is no
good CSV is one broken contact, not a broken file.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("name", "email", "phone")
FOUND = (
    "email_normalised",
    "email_domain",
    "company_domain",
    "phone_e164",
    "phone_region",
    "phone_carrier",
    "outcome",
    "reason",
)
"""The columns that enriching adds. An enriched file may be enriched again: its old ones are replaced."""

DELIMITERS = ",;\t"
FILE_MEBIBYTES_MAX = 32
SHOWN_CHARACTERS_MAX = 80

CONTROL_BYTE = re.compile(rb"[\x00-\x08\x0e-\x1f]")
FOREIGN_FORMATS = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class UnusableFile(Exception):
    """The file as a whole cannot be worked on, or its result not be written. Whoever gave it reads why."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One line: its fields as they came, the two that are looked at, and what is wrong with it as a line."""

    fields: tuple[str, ...]
    email: str = ""
    phone: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ContactFile:
    """What a file holds, and what must be known to write one like it."""

    header: tuple[str, ...]
    contacts: Sequence[Contact]
    delimiter: str
    encoding: str
    digest: str
    """Tells its content from any other."""


def contact_file(path: Path) -> ContactFile:
    """Read *path*.

    Raises:
        UnusableFile: It cannot be read, is too large, is no text, lacks a column, or holds no contact.
    """
    content = _content(path)
    if not content.strip():
        raise UnusableFile(f"{path} is empty. Its first line must name {_listed(NEEDED)}.")
    text, encoding = _text(content, str(path))
    lines = list(io.StringIO(text, newline=""))
    first = next(number for number, line in enumerate(lines) if line.strip())
    delimiter = max(DELIMITERS, key=lambda candidate: len(_needed(_fields(lines[first], candidate))))
    header = tuple(_fields(lines[first], delimiter))
    columns = _columns(header, f"{path}, line {first + 1}")
    contacts = [
        _contact(fields, len(header), columns, delimiter)
        for fields in _records(lines, first + 1, delimiter)
        if isinstance(fields, str) or any(map(str.strip, fields))
    ]
    if not contacts:
        raise UnusableFile(
            f"{path} holds no contact after its line {first + 1}, which names the columns. "
            "Each further line must be one contact."
        )
    return ContactFile(header, contacts, delimiter, encoding, hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    bytes_max = FILE_MEBIBYTES_MAX * 2**20
    try:
        with path.open("rb") as stream:
            content = stream.read(bytes_max + 1)
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > bytes_max:
        raise UnusableFile(
            f"{path} is larger than {FILE_MEBIBYTES_MAX} MiB, the most that is taken at once. "
            "Divide it into smaller files, each with the line of column names."
        )
    return content


def _text(content: bytes, name: str) -> tuple[str, str]:
    """The text, and the encoding that it was in."""
    for beginning, kind in FOREIGN_FORMATS.items():
        if content.startswith(beginning):
            raise UnusableFile(f'{name} is {kind}, not CSV. Save it as "CSV UTF-8" and try again.')
    if control := CONTROL_BYTE.search(content):
        place = _place(content, control.start())
        raise UnusableFile(
            f"{name}, {place}: the byte 0x{control[0].hex().upper()} does not occur in text, so this is "
            "a binary file or a damaged one. A CSV file in UTF-8 is needed."
        )
    try:
        encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
        return content.decode(encoding), encoding
    except UnicodeDecodeError as error:
        # Text that begins as good UTF-8 and then is none is damaged. It does not become right by reading
        # all of it as something else.
        if not content[: error.start].isascii():
            place = _place(content, error.start)
            raise UnusableFile(f"{name}, {place}: the UTF-8 text is damaged here. Save it again.") from error
    try:
        return content.decode("windows-1252"), "windows-1252"
    except UnicodeDecodeError as error:
        place = _place(content, error.start)
        raise UnusableFile(
            f"{name}, {place}: this is neither UTF-8 nor Windows-1252. Save it as UTF-8."
        ) from error


def _place(content: bytes, offset: int) -> str:
    line, column = content.count(b"\n", 0, offset) + 1, offset - content.rfind(b"\n", 0, offset)
    return f"line {line}, column {column}"


def _records(lines: Sequence[str], first: int, delimiter: str) -> Iterator[list[str] | str]:
    """The fields of each record, or the line itself where a quotation mark in it has no match.

    Reading goes on with the next line, so that such a mark costs its own line and not the rest of the file.
    """
    position = first

    def rest() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            yield lines[position - 1]

    reader = csv.reader(rest(), delimiter=delimiter, strict=True)
    while position < len(lines):
        start = position
        try:
            yield next(reader)
        except csv.Error:
            position = start + 1
            yield lines[start].rstrip("\r\n")
            reader = csv.reader(rest(), delimiter=delimiter, strict=True)


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:
        return [line]


def _needed(names: Iterable[str]) -> set[str]:
    return set(NEEDED).intersection(map(str.lower, names))


def _columns(header: Sequence[str], place: str) -> dict[str, int]:
    """Where the needed columns are."""
    names = [name.lower() for name in header]
    if missing := [name for name in NEEDED if name not in names]:
        shown = ", ".join(header)
        shown = shown if len(shown) <= SHOWN_CHARACTERS_MAX else shown[:SHOWN_CHARACTERS_MAX] + "…"
        raise UnusableFile(
            f"{place}: no column is named {_listed(missing, 'or')}; this line has: {shown}. "
            f"It must name {_listed(NEEDED)}, in any order, divided by commas, semicolons or tabs."
        )
    for name in NEEDED:
        if names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            raise UnusableFile(
                f"{place}: columns {first + 1} and {second + 1} are both named {name}. There must be one."
            )
    return {name: names.index(name) for name in NEEDED}


def _contact(fields: list[str] | str, width: int, columns: dict[str, int], delimiter: str) -> Contact:
    if isinstance(fields, str):
        return Contact((fields, *[""] * (width - 1)), fault="line: a quotation mark has no match")
    if any(fields[width:]):
        # What is too much stays in the last column, so that nothing of the line is lost.
        kept = (*fields[: width - 1], delimiter.join(fields[width - 1 :]))
        return Contact(kept, fault=f"line: {len(fields)} fields instead of {width}")
    kept = (*fields[:width], *[""] * (width - len(fields)))
    return Contact(kept, kept[columns["email"]].strip(), kept[columns["phone"]].strip())


def _listed(names: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
