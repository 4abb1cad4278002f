"""PostgreSQL itself: can it be reached, is it new enough, does it take writes, can its log be read?"""

import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import asyncpg

from progress_service.doctor import notify, rights, schema
from progress_service.doctor.finding import Finding, Findings, guarded, note, well, wrong
from progress_service.jobs.pool import line_of

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_SECONDS_MAX = 10.0
VERSION_MIN = 150_000
SKEW_SECONDS_MAX = 5.0
CONNECTIONS_LEFT_MIN = 10
LONG_SECONDS = 600.0

CONNECTIONS = """
    SELECT current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity)::int AS left,
        current_setting('max_connections')::int AS most
"""
LONGEST = """
    SELECT pid, extract(epoch FROM now() - xact_start) AS seconds FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    ORDER BY xact_start LIMIT 1
"""
LOG = """
    SELECT current_setting('wal_level') AS level,
        current_setting('max_replication_slots')::int
            - (SELECT count(*) FROM pg_replication_slots)::int AS slots_left,
        (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_read,
        quote_ident(current_user) AS role,
        EXISTS (SELECT FROM pg_publication_tables
            WHERE pubname = 'progress_service' AND tablename = 'bulk_enrichment_jobs') AS is_published,
        (SELECT slot_name FROM pg_replication_slots WHERE NOT active LIMIT 1) AS idle_slot
"""


async def looked_at(dsn: str) -> Findings:
    """Check the database of *dsn*, from the connection to the triggers."""
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield _unreachable(error)
        return
    try:
        async for finding in _connected(connection, dsn):
            yield finding
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield wrong("database", f"a look at it failed: {line_of(error)}", "see to that, and run doctor again")
    finally:
        with anyio.move_on_after(CONNECT_SECONDS_MAX, shield=True):
            await connection.close()


async def _connected(connection: "Connection", dsn: str) -> Findings:
    version = await connection.fetchval("SELECT current_setting('server_version_num')::int")
    if version < VERSION_MIN:
        remedy = "upgrade it to PostgreSQL 15 or newer"
        yield wrong("database", f"it is PostgreSQL {version // 10_000}", remedy)
        return
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        remedy = "name the primary in DATABASE_URL (several hosts: ?target_session_attrs=primary)"
        yield wrong("database", "it is a standby, which takes no writes and sends no notifications", remedy)
        return
    yield well("database", f"PostgreSQL {version // 10_000}.{version % 10_000}, a primary")
    yield await guarded("connections", partial(_connections, connection))
    yield await guarded("clock", partial(_clock, connection))
    has_table = True
    async for finding in schema.looked_at(connection):
        has_table = has_table and (finding.subject, finding.remedy) != ("table", schema.APPLY)
        yield finding
    if has_table:
        async for finding in rights.looked_at(connection):
            yield finding
    sending = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX)
    try:
        async for finding in notify.looked_at(connection, sending, has_table=has_table):
            yield finding
    finally:
        with anyio.move_on_after(CONNECT_SECONDS_MAX, shield=True):
            await sending.close()
    yield await guarded("log", partial(_log, connection))
    yield await guarded("transactions", partial(_transactions, connection))


def _unreachable(error: Exception) -> Finding:
    """Why there is no connection, and whose turn it is."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            remedy = "correct user and password in DATABASE_URL; percent-encode @ : / ? in them"
        case asyncpg.InvalidCatalogNameError():
            remedy = "createdb NAME, or correct the database in DATABASE_URL"
        case asyncpg.TooManyConnectionsError():
            remedy = "ALTER SYSTEM SET max_connections = 200; -- and restart, or close idle clients"
        case TimeoutError():
            remedy = "open the way to that host and port (firewall, security group, VPN)"
        case OSError():
            remedy = "start PostgreSQL there, or correct host and port in DATABASE_URL"
        case _:
            remedy = "DATABASE_URL is like postgresql://user:password@host:5432/database"
    return wrong("database", f"it cannot be reached: {line_of(error)}", remedy)


async def _connections(connection: "Connection") -> Finding:
    found = await connection.fetchrow(CONNECTIONS)
    assert found is not None
    if found["left"] < CONNECTIONS_LEFT_MIN:
        said = f"only {found['left']} of {found['most']} connections are left"
        return note(
            "connections", said, f"ALTER SYSTEM SET max_connections = {2 * found['most']}; -- and restart"
        )
    return well("connections", f"{found['left']} of {found['most']} are left")


async def _clock(connection: "Connection") -> Finding:
    """Jobs linger by ages, whatever the clocks say; but tokens end by ours, and dates are shown by theirs."""
    before = time.time()
    theirs = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > SKEW_SECONDS_MAX:
        said = f"PostgreSQL's is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        return note("clock", said, "timedatectl set-ntp true   # on both machines")
    return well("clock", "PostgreSQL's and this machine's agree")


async def _log(connection: "Connection") -> Finding:
    """Whether the write-ahead log can be read as a feed, which costs writers less than notifications do."""
    found = await connection.fetchrow(LOG)
    assert found is not None
    if found["level"] != "logical":
        remedy = "ALTER SYSTEM SET wal_level = logical; -- and restart; only for PROGRESS_FEED=wal"
        return note("log", f"wal_level is {found['level']}, so the feed wal is not to be had", remedy)
    if not found["may_read"]:
        remedy = f"ALTER ROLE {found['role']} REPLICATION; -- only for PROGRESS_FEED=wal"
        return note("log", f"{found['role']} may not read it, so the feed wal is not to be had", remedy)
    if found["slots_left"] <= 0:
        idle = found["idle_slot"]
        drop = f"SELECT pg_drop_replication_slot('{idle}'); -- if nobody needs it"
        more = "ALTER SYSTEM SET max_replication_slots = 20; -- and restart"
        return note(
            "log", "every replication slot is taken, so the feed wal is not to be had", drop if idle else more
        )
    if not found["is_published"]:
        said = "bulk_enrichment_jobs is not in the publication progress_service"
        return note("log", said, schema.APPLY)
    return well("log", "it can be read as a feed (PROGRESS_FEED=wal)")


async def _transactions(connection: "Connection") -> Finding:
    found = await connection.fetchrow(LONGEST)
    if found is not None and found["seconds"] > LONG_SECONDS:
        minutes = found["seconds"] / 60
        said = f"one has been open for {minutes:.0f} minutes; it keeps dead rows, and makes the log long"
        return note("transactions", said, f"SELECT pg_terminate_backend({found['pid']});")
    return well("transactions", "none has been open for long")
