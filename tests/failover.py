"""A primary and an asynchronous standby: a fail-over loses the commits that the standby has not received.

A, primary  ──streaming replication──▶  B, standby
     ✗       receiver stopped, more commits
             killed                      promoted: B is the primary, without those commits
A, standby  ◀──streaming replication──  B, primary        after `rejoin`
"""

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import anyio
import anyio.to_thread

from loadtest.havoc import Database
from progress_service.embedded.account import account_for, hand_over
from progress_service.embedded.server import programs_folder
from tests.postgres import connected

if TYPE_CHECKING:
    from tests.postgres import Connection

WAIT_SECONDS_MAX = 20.0
LOOK_SECONDS = 0.02
# A standby that lost its primary for a while finds all that it still needs, and soon.
SETTINGS = {"wal_keep_size": "256MB", "wal_retrieve_retry_interval": "200ms"}


class FailoverPair:
    """Two PostgreSQL servers, of which one is the primary. `failover_pair` makes a pair.

    Args:
        folder: Of both servers' data.
        settings: PostgreSQL's parameters, of both.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folders = {
            Database(folder / name, {**SETTINGS, **settings}): folder / name for name in ("a", "b")
        }
        self.primary, self.standby = self._folders

    @property
    def servers(self) -> tuple[Database, ...]:
        """Both servers, in the order of `dsn`, whichever is the primary."""
        return tuple(self._folders)

    @property
    def dsn(self) -> str:
        """A DSN with both hosts, in an order that stays. It does not say which of them is the primary."""
        hosts = ",".join(quote(socket_folder(server.dsn), safe="") for server in self.servers)
        return f"postgresql://postgres@/postgres?host={hosts}&port=5432,5432"

    async def start(self) -> None:
        """Start the primary, and the standby with a copy of its data."""
        await self.primary.start()
        await self._start_standby()

    async def stop(self) -> None:
        """Stop both; the standby first, since a primary waits for what its standby has yet to receive."""
        await self.standby.stop()
        await self.primary.stop()

    async def until_replicated(self) -> None:
        """Wait until the standby has replayed all that is committed."""
        async with connected(self.primary.dsn) as primary, connected(self.standby.dsn) as standby:
            position = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
            await _until(standby, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position)

    async def stop_replication(self) -> None:
        """Stop the standby's receiver: what is committed from now on is lost with the primary."""
        async with connected(self.standby.dsn) as standby:
            await standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
            await standby.execute("SELECT pg_reload_conf()")
            await _until(standby, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")

    async def fail_over(self) -> None:
        """Kill the primary, and promote the standby, which is the primary from then on."""
        await self.primary.crash()
        async with connected(self.standby.dsn) as standby:
            assert await standby.fetchval("SELECT pg_promote()")
        self.primary, self.standby = self.standby, self.primary

    async def rejoin(self) -> None:
        """Have the server that was killed come back as the standby, with a copy of the primary's data."""
        await anyio.to_thread.run_sync(shutil.rmtree, self._folders[self.standby])
        await self._start_standby()

    async def _start_standby(self) -> None:
        source, folder = socket_folder(self.primary.dsn), self._folders[self.standby]
        await anyio.to_thread.run_sync(_copy_cluster, source, folder / "cluster")
        await self.standby.start()


@asynccontextmanager
async def failover_pair(
    folder: Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[FailoverPair]:
    """A primary with a standby that streams from it. Both are stopped at the end."""
    pair = FailoverPair(folder, settings or {})
    try:
        await pair.start()
        yield pair
    finally:
        with anyio.CancelScope(shield=True):
            await pair.stop()


def socket_folder(dsn: str) -> str:
    """The folder of the Unix socket that *dsn* names."""
    return parse_qs(urlsplit(dsn).query)["host"][0]


async def _until(connection: "Connection", condition: str, *values: str) -> None:
    """Wait for what PostgreSQL does not report by itself."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not await connection.fetchval(condition, *values):  # noqa: ASYNC110 - as above.
            await anyio.sleep(LOOK_SECONDS)


def _copy_cluster(source: str, cluster: Path) -> None:
    """Copy the data of the running server at *source*; the copy is a standby of it."""
    cluster.mkdir(parents=True)
    options = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
    program = programs_folder() / "pg_basebackup"
    done = subprocess.run(
        [program, f"--host={source}", "--username=postgres", f"--pgdata={cluster}", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # PostgreSQL's log and socket were copied, too, and are not the standby's.
    for name in ("server.log", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (cluster / name).unlink(missing_ok=True)
    account = account_for(cluster)
    for path in (cluster, *cluster.rglob("*")):
        hand_over(account, path)
    cluster.chmod(0o700)
