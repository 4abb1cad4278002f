"""The client's small form: the sources bundled into a file for each page's need, and shortened.

A page with the headless store loads one file. A page with the element loads two: what every element takes,
and what its view does; or one, with the card in it. Compression gains little from many small files, so
everything else takes what it needs from these, where a bundler left to itself would make a file for each set
of modules that are shared. What loads late is therefore there twice: once for either.
"""

import re
import string
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.npm.node import esbuild, run

# What a page with the headless store loads, and what a page with the element loads. What is in one file of a
# group is not in the next. What both views want is in the element's file.
HEADLESS = ("watch.js", "react.js")
VIEWS = ("line.js", "card.js")
ELEMENT = ("element.js", *VIEWS, "enrichment-progress-bar.js")
# It imports nothing, so that all load the same file.
ALONE = "others.js"
# The element with the card in its file, and what belongs to it: by other names than beside the usual one.
WITH_CARD = "with-card"
BESIDE_CARD = {
    "element.js": f"{WITH_CARD}.js",
    "enrichment-progress-bar.js": "enrichment-progress-card.js",
    ALONE: ALONE,
}
TERSER = ("--compress", "passes=3", "--mangle")

# With this to begin with, all names that the files exchange are different in two letters.
_NO_TWO_ALIKE = 1
_IMPORTED = re.compile(r'from "\./([\w-]+\.js)";')
_NAMED = re.compile(r'^(?:im|ex)port \{([^}]*)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
_LATE = re.compile(r'import\("\./([\w-]+\.js)"\)')
_MODULE = re.compile(r'"\./([\w-]+\.js)"')
_STYLES = re.compile(r"/\* css \*/ `[^`]*`")

Texts = Mapping[str, str]
Files = Mapping[str, list[str]]


def make_small(texts: Texts, folder: Path) -> list[str]:
    """Make the sources small, and write what becomes of them into *folder*; the names of the files."""
    late = sorted({name for text in texts.values() for name in _LATE.findall(text)} - {*ELEMENT, ALONE})
    texts = _with_tight_styles(texts)
    groups = [
        (texts, (ALONE,)),
        (texts, HEADLESS),
        (texts, (*ELEMENT, *late)),
        (
            _joined(texts),
            tuple(map(_beside_card, ("element.js", "enrichment-progress-bar.js", "line.js", *late))),
        ),
    ]
    names = [name for sources, entries in groups for name in _bundled(sources, entries, folder)]
    for name in names:
        path = folder / name
        run("terser/bin/terser", path, "--module", *TERSER, "--output", path)
    return sorted(names)


def _bundled(texts: Texts, entries: Sequence[str], folder: Path) -> list[str]:
    """Bundle a group of files, which load each other, into *folder*; their names."""
    files = modules_of_files(texts, entries)
    options = ("--bundle", "--format=esm", "--minify", "--target=es2023", f"--outdir={folder}")
    with tempfile.TemporaryDirectory() as name:
        # The sources are in a folder below, so that no file's own entry passes for one of the others.
        sources = Path(name) / "sources"
        sources.mkdir()
        for module, text in _divided(texts, files).items():
            (sources / module).write_text(text, "utf-8")
        paths = (f"sources/{file}" for file in files)
        others = ("react", *(f"./{file}" for file in (*files, *ELEMENT, ALONE)))
        esbuild(*paths, *options, *(f"--external:{other}" for other in others), cwd=Path(name))
    return [*files]


def _joined(texts: Texts) -> dict[str, str]:
    """The modules by the names that they have beside the card, which is in the element's own file."""
    session = texts["session.js"].replace('import("./card.js")', "{ view: cardView, sheets: cardSheets }")
    session += 'import { view as cardView, sheets as cardSheets } from "./card.js";\n'
    texts = {**texts, "session.js": session}
    return {
        _beside_card(module): _MODULE.sub(lambda found: f'"./{_beside_card(found[1])}"', text)
        for module, text in texts.items()
    }


def _beside_card(module: str) -> str:
    return BESIDE_CARD.get(module, f"{WITH_CARD}-{module}")


def modules_of_files(texts: Texts, entries: Sequence[str]) -> dict[str, list[str]]:
    """The files of a group, and the modules that are in each, its own one first."""
    needs = {file: _needs(texts, file) for file in entries}
    if needs.keys() >= {*VIEWS}:
        line, card = (needs[view] for view in VIEWS)
        needs[entries[0]] += [module for module in line if module in card and module not in needs[entries[0]]]
    files: dict[str, list[str]] = {}
    for file, modules in needs.items():
        taken = {module for others in files.values() for module in others}
        files[file] = [module for module in modules if module not in taken]
    return files


def _needs(texts: Texts, file: str) -> list[str]:
    """The modules that *file* loads at once, itself first."""
    modules = [file]
    for module in modules:
        modules += [each for each in dict.fromkeys(_IMPORTED.findall(texts[module])) if each not in modules]
    return modules


def _divided(texts: Texts, files: Files) -> dict[str, str]:
    """The modules, importing what is in another file from there, and each file giving what others want.

    All that a file takes from another one goes through one module more, so that it is named once.
    """
    homes = {module: file for file, modules in files.items() for module in modules}
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    divided = {}
    for importer, file in homes.items():
        text = texts[importer]
        for module in _IMPORTED.findall(text):
            if homes[module] != file:
                text = text.replace(f'from "./{module}";', f'from "./{_gate(file, homes[module])}";')
        divided[importer] = text
        for names, module in _NAMED.findall(texts[importer]):
            if homes[module] != file:
                wanted[file, module] |= _names(names)
    gates: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (file, module), names in wanted.items():
        home = homes[module]
        is_own = module == home
        gates[file, home] |= {name if is_own else f"{_short(name)} as {name}" for name in names}
        if not is_own:
            gates[home, module] |= {f"{name} as {_short(name)}" for name in names}
    for (file, other), names in gates.items():
        text = f'export {{ {", ".join(sorted(names))} }} from "./{other}";\n'
        if other in files:
            divided[_gate(file, other)] = text
        else:
            divided[file] += text
    return divided


def _short(name: str) -> str:
    """What one file calls *name* towards another: the same from version to version, as pages outlive them."""
    number = zlib.crc32(name.encode(), _NO_TWO_ALIKE)
    # Two of the same would be two exports of one name, which the bundler refuses: call one of them otherwise.
    return "".join(string.ascii_letters[number // 52**place % 52] for place in range(2))


def _gate(file: str, other: str) -> str:
    return f"{Path(file).stem}-from-{other}"


def _names(listed: str) -> set[str]:
    """What stands between the braces of an import or export, by the names that the module itself uses."""
    return {name.split(" as ")[0].strip() for name in listed.split(",")} - {""}


def _with_tight_styles(texts: Texts) -> dict[str, str]:
    return {module: _STYLES.sub(lambda found: tight(found[0]), text) for module, text in texts.items()}


def tight(css: str) -> str:
    """A stylesheet without the space that only people need. A bundler leaves a text within a script alone."""
    css = re.sub(r"/\*.*?\*/", "", css.removeprefix("/* css */"), flags=re.DOTALL)
    css = re.sub(r"\s*([`{};,>!])\s*", r"\1", re.sub(r"\s+", " ", css))
    css = re.sub(r'="([a-zA-Z]+)"\]', r"=\1]", css.replace(";}", "}").replace(": ", ":"))
    css = re.sub(r"(\d|auto) / (-?\d)", r"\1/\2", re.sub(r"([\w)\]]) \+ (?=[.\[])", r"\1+", css))
    return re.sub(r"(?<=[ (,:-])0(\.\d)", r"\1", css)
