"""The client's small form, its types and its manifest: what the sources in `progress_service/client` give.

`python -m tests.npm.client` makes them anew; with `--check` it only sees whether they are current, and
whether the types are right.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from progress_service.api.client import CLIENT_FOLDER, SMALL, digest_of_sources
from tests.npm.node import run
from tests.npm.small import make_small

TYPES = "types"
PROJECT = Path(__file__).parent / "tsconfig.json"


def make_manifest(folder: Path) -> None:
    """Describe the element for editors and documentation tools (custom-elements manifest, schema 1)."""
    # The analyzer takes its output folder for one below the present one.
    with tempfile.TemporaryDirectory() as name:
        for source in CLIENT_FOLDER.glob("*.js"):
            shutil.copy(source, name)
        globs = ("--globs", "attributes.js", "element.js", "enrichment-progress-bar.js")
        run("@custom-elements-manifest/analyzer/cem.js", "analyze", *globs, cwd=Path(name))
        shutil.copy(Path(name) / "custom-elements.json", folder)


def check_types() -> None:
    """Check the types of the sources' JSDoc, strictly."""
    run("typescript/bin/tsc", "--project", PROJECT)


def make_types(folder: Path) -> None:
    """Write the declarations that the sources' JSDoc amounts to into *folder*."""
    options = ("--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", folder)
    run("typescript/bin/tsc", "--project", PROJECT, *options)
    for path in CLIENT_FOLDER.glob("*.d.ts"):
        shutil.copy(path, folder)


def make(folder: Path) -> None:
    """Make everything that is made, in *folder*."""
    sources = {path.name: path.read_text("utf-8") for path in CLIENT_FOLDER.glob("*.js")}
    names = make_small(sources, folder / SMALL)
    made = {"sources": digest_of_sources(CLIENT_FOLDER), "files": names}
    (folder / SMALL / "made.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
    make_types(folder / TYPES)
    make_manifest(folder)


def made_files(folder: Path) -> dict[str, bytes]:
    """What is made, as it is in *folder* now."""
    paths = [*folder.glob(f"{SMALL}/*"), *folder.glob(f"{TYPES}/*"), *folder.glob("custom-elements.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def main() -> None:
    """Make, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            check_types()
            make(folder)
        except subprocess.CalledProcessError as error:
            sys.exit(error.stdout or f"failed: {error.cmd}")
        made, shipped = made_files(folder), made_files(CLIENT_FOLDER)
    stale = sorted({name for name in made | shipped if made.get(name) != shipped.get(name)})
    if is_check and stale:
        sys.exit(f"not made from the present sources: {', '.join(stale)}; run make client")
    for name in stale:
        path = CLIENT_FOLDER / name
        if name in made:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(made[name])
        else:
            path.unlink()


if __name__ == "__main__":
    main()
