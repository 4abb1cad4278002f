"""django-eventstream, with Django under uvicorn.

Its documentation names daphne or any other ASGI server, and says that events are sent from within the
server's own process unless Redis or a GRIP proxy carries them, which would only add work here. So: one
process, uvicorn with uvloop and httptools (the faster server), no storage, `DEBUG` off, and no middleware,
as Django's documentation advises for speed. It has a venv of its own.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from loadtest.peers.peer import PROGRAMS, Peer, Running, cache_folder, carry_out
from loadtest.peers.piped import piped
from loadtest.reader import Look

PACKAGES = ("django==5.2.19", "django-eventstream==5.3.4")
SERVER = ("uvicorn", "uvloop", "httptools", "asyncpg")
"""Of these it gets the versions that ours has."""


class DjangoEventStream(Peer):
    """`programs/django_site.py`."""

    name = "django-eventstream"

    def version(self) -> str:
        """Those of the packages that matter."""
        return ", ".join(package.replace("==", " ") for package in PACKAGES)

    def absent(self) -> str | None:
        """Whether the packages are there."""
        if _stamp().exists() and _stamp().read_text("utf-8").split() == _packages():
            return None
        return "from PyPI, django and django-eventstream must be installed (they get a venv of their own)"

    def install(self) -> None:
        """Make the venv, and have pip install the packages by name."""
        carry_out([sys.executable, "-m", "venv", "--clear", _folder()])
        carry_out([_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_packages()])
        _stamp().write_text("\n".join(_packages()), "utf-8")

    @contextmanager
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> Iterator[Running]:
        """Start it."""
        command = [str(_python()), str(PROGRAMS / "django_site.py")]
        settings = {"DJANGO_SETTINGS_MODULE": "django_settings"}
        look = Look(b"event: stream-open")
        with piped(command, "/events/{user_id}/", look, core=core, dsn=dsn, environment=settings) as running:
            yield running


def _packages() -> list[str]:
    return [*PACKAGES, *(f"{name}=={version(name)}" for name in SERVER)]


def _folder() -> Path:
    return cache_folder() / "django-eventstream"


def _python() -> Path:
    return _folder() / "bin" / "python"


def _stamp() -> Path:
    return _folder() / "installed.txt"
