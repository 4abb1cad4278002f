"""The client's small form, its types and its manifest: what the sources in `progress_service/client` give.

`python -m tests.npm.client` makes them anew; with `--check` it only sees whether they are current, and
whether the types are right.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from progress_service.api.client import CLIENT_FOLDER, SMALL, digest_of_sources
from tests.npm.node import esbuild, run

ENTRIES = ("watch.js", "element.js", "card.js", "enrichment-progress-bar.js", "react.js")
IMPORTED = re.compile(r'from "\./([\w-]+\.js)";')
NAMED = re.compile(r'^(?:im|ex)port \{([^}]*)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
GIVEN = re.compile(r"^export \{([^}]*)\};$", re.MULTILINE)
LATE = re.compile(r'import\("\./([\w-]+\.js)"\)')
TYPES = "types"
STYLES = re.compile(r"/\* css \*/ `[^`]*`")
PROJECT = Path(__file__).parent / "tsconfig.json"


def make_small(folder: Path) -> None:
    """Bundle the sources into *folder*: one file for each of `_files_small`."""
    texts = {path.name: path.read_text("utf-8") for path in CLIENT_FOLDER.glob("*.js")}
    files = _files_small(texts)
    wanted = _names_wanted(texts, files)
    homes = {module: file for file, modules in files.items() for module in modules}
    with tempfile.TemporaryDirectory() as name:
        for file, modules in files.items():
            for module in modules:
                text = STYLES.sub(lambda found: tight(found[0]), texts[module])
                text = IMPORTED.sub(
                    lambda found: found[0] if homes[found[1]] == file else f'from "./{homes[found[1]]}";',
                    text,
                )
                path = Path(name) / SMALL / module
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
            given = {name for names in GIVEN.findall(texts[file]) for name in re.findall(r"\w+", names)}
            others = "".join(
                f'export {{ {", ".join(sorted(names))} }} from "./{module}";\n'
                for module in modules
                if module != file and (names := wanted[module] - given)
            )
            with (Path(name) / SMALL / file).open("a") as entry:
                entry.write(others)
        options = ("--bundle", "--format=esm", "--minify", "--target=es2023", "--external:react")
        externals = (f"--external:./{file}" for file in files)
        esbuild(*(f"{SMALL}/{file}" for file in files), *options, *externals, f"--outdir={folder}", cwd=Path(name))
    made = {"sources": digest_of_sources(CLIENT_FOLDER), "files": sorted(files)}
    (folder / "made.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")


def _files_small(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Which modules are in which file of the small form."""
    files: dict[str, list[str]] = {}
    late = sorted({name for text in texts.values() for name in LATE.findall(text)})
    for entry in dict.fromkeys((*ENTRIES, *late)):
        taken = {module for modules in files.values() for module in modules}
        modules = [entry]
        for module in modules:
            found = IMPORTED.findall(texts[module])
            modules += [each for each in found if each not in taken and each not in modules]
        files[entry] = modules
    return files


def _names_wanted(texts: Mapping[str, str], files: Mapping[str, list[str]]) -> dict[str, set[str]]:
    """The names of each module that other files of the small form import."""
    wanted: dict[str, set[str]] = {module: set() for module in texts}
    for modules in files.values():
        for text in (texts[module] for module in modules):
            for names, module in NAMED.findall(text):
                if module not in modules:
                    wanted[module] |= {name.split(" as ")[0].strip() for name in names.split(",")} - {""}
    return wanted


def tight(css: str) -> str:
    """A stylesheet without the space that only people need. A bundler leaves a text within a script alone."""
    css = re.sub(r"/\*.*?\*/", "", css.removeprefix("/* css */"), flags=re.DOTALL)
    css = re.sub(r"\s*([{};,>])\s*", r"\1", re.sub(r"\s+", " ", css))
    return re.sub(r"(?<=[ (,:])0(\.\d)", r"\1", css.replace(";}", "}").replace(": ", ":"))


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
    make_small(folder / SMALL)
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
