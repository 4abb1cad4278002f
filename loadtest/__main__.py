"""The measuring programs by name: one, with its options, or all of those whose figures the README shows.

A program is a module of this package with a `main(arguments)`; it belongs to the README's set when it says
`IN_README = True`. Each runs in a process of its own, so that none inherits the memory of the one before.
"""

import ast
import importlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

USAGE = """\
python -m loadtest                  all that the README shows
{programs}

Each takes --help."""


@dataclass(frozen=True, slots=True)
class Program:
    """What can be told of a program without importing it, which would take memory and time of the others."""

    name: str
    summary: str
    is_in_readme: bool


def programs() -> Mapping[str, Program]:
    """The programs that are here, by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in module.body):
            summary = (ast.get_docstring(module) or "").partition("\n")[0]
            is_in_readme = any(ast.unparse(part) == "IN_README = True" for part in module.body)
            found[path.stem] = Program(path.stem, summary, is_in_readme)
    return found


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; the exit status is 0 when every program's was."""
    known = programs()
    match arguments:
        case []:
            shown = [program.name for program in known.values() if program.is_in_readme]
            runs = [subprocess.run([sys.executable, "-m", "loadtest", name], check=False) for name in shown]
            return int(any(run.returncode for run in runs))
        case [name, *options] if name in known:
            return int(importlib.import_module(f"loadtest.{name}").main(options) or 0)
        case _:
            lines = [f"python -m loadtest {known[name].name:<16} {known[name].summary}" for name in known]
            print(USAGE.format(programs="\n".join(lines)))
            return 0 if arguments[0] in {"-h", "--help"} else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
