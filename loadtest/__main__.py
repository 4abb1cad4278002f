"""The measuring programs by name: a list of them, or one, with its options.

A program is a module of this package with a `main(arguments)`; `update-cost` is in `update_cost.py`.
"""

import ast
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

HEAD = (
    "python -m loadtest PROGRAM; each takes --help, checks what it measures, and leaves a report in reports/"
)


def programs() -> Mapping[str, str]:
    """The programs that are here, and what each does in a line; none is imported for that."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in module.body):
            found[path.stem.replace("_", "-")] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; the exit status is 0 when the program's was."""
    known = programs()
    match arguments:
        case [name, *options] if name in known:
            return int(importlib.import_module(f"loadtest.{name.replace('-', '_')}").main(options) or 0)
        case [] | ["-h" | "--help"]:
            _list(known)
            return 0
        case _:
            _list(known)
            print(f"There is no program {arguments[0]!r}.", file=sys.stderr)
            return 2


def _list(known: Mapping[str, str]) -> None:
    table = Table(title=HEAD, title_justify="left", show_header=False, pad_edge=False)
    for name, summary in known.items():
        table.add_row(f"[bold]{name}", summary)
    table.caption = "[bold]performance[/] runs the set of docs/performance.md: make load"
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
