"""Servers for the tests that no wheel has: the ones that are here, or unpacked from Debian's packages.

They are not installed, for what is installed begins to run, and asks for root. `python -m tests.debian`
makes sure that all are there, and prints where.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / ".test" / "debian"
PACKAGES: Final = {"prometheus": "prometheus", "promtool": "prometheus", "nginx": "nginx"}
"""Which package has each program."""

PLACES: Final = ("usr/bin", "usr/sbin")

POSTGRES: Final = "usr/lib/postgresql/15/bin"
"""Where Debian has the programs of PostgreSQL 15. From there they find its other files, unpacked or not."""

POSTGRES_UNPACKED: Final = "postgresql-15"
"""Where each program has a script that starts it with the libraries that were unpacked as well."""

SCRIPT: Final = """#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")
exec env LD_LIBRARY_PATH={libraries} "$root/{program}" "$@"
"""


def found(name: str) -> Path | None:
    """Where a program is: by the variable of its name in capitals, by its name, or unpacked."""
    usual = os.pathsep.join([os.environ.get("PATH", os.defpath), *(f"/{place}" for place in PLACES)])
    unpacked = os.pathsep.join(str(FOLDER / place) for place in PLACES)
    for wanted, path in ((os.environ.get(name.upper()), usual), (name, usual), (name, unpacked)):
        if wanted and (there := shutil.which(wanted, path=path)):
            return Path(there)
    return None


def program(name: str) -> Path:
    """Where a program is.

    Raises:
        LookupError: It is not there; the text says how to get it.
    """
    if (path := found(name)) is None:
        raise LookupError(
            f"{name} was not found. On Debian `make test` unpacks it; elsewhere install {PACKAGES[name]}, "
            f"or set {name.upper()} to its path."
        )
    return path


def postgres() -> Path | None:
    """The folder of the programs of PostgreSQL 15: the one that is installed, or else the unpacked one."""
    for folder in (Path("/", POSTGRES), FOLDER / POSTGRES_UNPACKED):
        if (folder / "initdb").exists():
            return folder
    return None


def unpack_postgres() -> None:
    """Unpack PostgreSQL 15, and those of its libraries that are not installed."""
    for name, package in (("initdb", "postgresql-15"), ("psql", "postgresql-client-15")):
        unpack(package)
        if not (FOLDER / POSTGRES / name).exists():
            return
    plan = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", "postgresql-15"],
        check=False,
        capture_output=True,
        text=True,
    )
    # A version in square brackets, after the name, would be the one that is installed.
    for library in re.findall(r"^Inst (lib\S+) \(", plan.stdout, re.MULTILINE):
        # That one has 100 MB, and only compiles queries, which the tests switch off.
        if not library.startswith("libllvm"):
            unpack(library)
    folders = sorted(folder for place in ("lib", "usr/lib") for folder in FOLDER.glob(f"{place}/*-linux-*"))
    libraries = ":".join(f'"$root/{folder.relative_to(FOLDER)}"' for folder in folders)
    scripts = FOLDER / POSTGRES_UNPACKED
    scripts.mkdir(exist_ok=True)
    scripts.chmod(0o755)
    for path in (FOLDER / POSTGRES).iterdir():
        script = scripts / path.name
        script.write_text(SCRIPT.format(libraries=libraries, program=path.relative_to(FOLDER)), "utf-8")
        script.chmod(0o755)


def unpack(package: str) -> None:
    """Unpack a package of Debian's into `FOLDER`, as far as that can be done here."""
    if shutil.which("apt-get") is None:
        return
    with tempfile.TemporaryDirectory() as place:
        # As root it would warn that its own user cannot write there.
        download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package]
        if not _runs(download, place) and os.geteuid() == 0:
            # The list of packages is too old, or there is none.
            _runs(["apt-get", "update", "-qq"], place)
            _runs(download, place)
        for archive in Path(place).glob("*.deb"):
            _runs(["dpkg-deb", "--extract", str(archive), str(FOLDER)], place)


def _runs(command: list[str], folder: str) -> bool:
    sys.stderr.write(f"$ {' '.join(command)}\n")
    return subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL).returncode == 0


def main() -> None:
    """Print where each is, or end with what would help."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, package in PACKAGES.items():
        if found(name) is None:
            unpack(package)
        try:
            sys.stdout.write(f"{program(name)}\n")
        except LookupError as error:
            sys.exit(str(error))
    if postgres() is None:
        unpack_postgres()
    # One that is missing is for the tests to say that need it: not every system has this version.
    sys.stdout.write(f"{postgres() or 'no PostgreSQL 15'}\n")


if __name__ == "__main__":
    main()
