"""Make the parts of docs/ that are made from the code: `python -m tests.documents [--check]`.

A whole file is made, or what stands in a document between `<!-- made: NAME -->` and `<!-- end of NAME -->`.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.documents import http, metrics, settings, stream

DOCS = Path(__file__).parents[2] / "docs"

WHOLE: Final[Mapping[str, Callable[[], str]]] = {"http.md": http.page, "asyncapi.yaml": stream.asyncapi}
PARTS: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "operations.md": {"settings": settings.table, "metrics": metrics.table},
    "protocol.md": {"events": stream.table},
}


def made() -> dict[Path, str]:
    """Each document as it should be."""
    documents = {DOCS / name: make() for name, make in WHOLE.items()}
    for name, parts in PARTS.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        for part, make in parts.items():
            text = _replaced(text, part, make())
        documents[DOCS / name] = text
    return documents


def _replaced(text: str, part: str, by: str) -> str:
    begin, end = f"<!-- made: {part} -->", f"<!-- end of {part} -->"
    assert text.count(begin) == text.count(end) == 1, part
    return re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}",
        lambda _: f"{begin}\n\n{by.strip()}\n\n{end}",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    """Make, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    stale = {
        path: text
        for path, text in made().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if is_check and stale:
        names = ", ".join(sorted(path.name for path in stale))
        sys.exit(f"not made from the present code: {names}; run make docs")
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
