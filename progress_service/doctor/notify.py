"""Notifications: does one arrive, and does the change of a row send its hint?"""

from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio

from progress_service.doctor.finding import Finding, Findings, guarded, note, well, wrong
from progress_service.doctor.schema import APPLY

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

REPLY_SECONDS_MAX = 5.0
QUEUE_SHARE_MAX = 0.5

# The setting ends with its transaction; without it, the notification waits for a synchronous standby.
SEND = "SELECT set_config('synchronous_commit', 'local', true), pg_notify($1, $2)"
CHANNEL = """
    SELECT 'bulk_enrichment_jobs.' || nspname
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass('bulk_enrichment_jobs')
"""
SENDS_HINTS = """
    SELECT tgnargs = 0 FROM pg_trigger
    WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND tgname = 'zz_bump_revision'
"""
# A job that ended yesterday: no stream shows it, and it is deleted a moment later.
PROBE = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, label, status, created_at, finished_at)
    SELECT $1, (SELECT user_id FROM bulk_enrichment_jobs WHERE user_id IS NOT NULL LIMIT 1),
        'progress-service doctor', 'cancelled', now() - interval '1 day', now() - interval '1 day'
    WHERE EXISTS (SELECT FROM bulk_enrichment_jobs WHERE user_id IS NOT NULL)
    RETURNING id
"""
REMOVE = "DELETE FROM bulk_enrichment_jobs WHERE id = $1"
OLDEST_TRANSACTION = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL
        AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1
"""


async def looked_at(listening: "Connection", sending: "Connection", *, has_table: bool) -> Findings:
    """Send notifications over one connection, and listen on the other."""
    if listening.get_server_pid() != await listening.fetchval("SELECT pg_backend_pid()"):
        remedy = "DATABASE_URL should name PostgreSQL itself, or a pooler in session mode"
        yield note("pooler", "a pooler is between doctor and PostgreSQL", remedy)
    word = uuid4().hex
    if not await _arrives(listening, f"doctor_{word}", word, sending):
        remedy = (
            "name PostgreSQL itself in DATABASE_URL (Supabase: port 5432, not 6543), or PROGRESS_FEED=poll"
        )
        yield wrong("LISTEN", f"a notification did not arrive within {REPLY_SECONDS_MAX:.0f} s", remedy)
        return
    yield well("LISTEN", "a notification arrived")
    yield await guarded("queue", partial(_queue, sending))
    if has_table:
        yield await guarded("hints", partial(_hints, listening, sending))


async def _arrives(listening: "Connection", channel: str, word: str, sending: "Connection") -> bool:
    arrived = anyio.Event()
    await listening.add_listener(channel, lambda *args: arrived.set() if word in str(args[-1]) else None)
    await sending.execute(SEND, channel, word)
    with anyio.move_on_after(REPLY_SECONDS_MAX):
        await arrived.wait()
    return arrived.is_set()


async def _queue(connection: "Connection") -> Finding:
    """Notifications wait until the slowest listener has read them; when the queue is full, writers fail."""
    share = await connection.fetchval("SELECT pg_notification_queue_usage()")
    if share > QUEUE_SHARE_MAX:
        pid = await connection.fetchval(OLDEST_TRANSACTION)
        said = f"the queue of notifications is {share:.0%} full: a listener never ends its transaction"
        return wrong("queue", said, f"SELECT pg_terminate_backend({pid or 'pid'});")
    return well("queue", f"{share:.0%} full")


async def _hints(listening: "Connection", sending: "Connection") -> Finding:
    """Write a row that no stream shows, and listen for its hint."""
    if await sending.fetchval(SENDS_HINTS) is False:
        return well("hints", "switched off: the log is read instead (schema --apply --feed wal)")
    probe, arrived = uuid4(), anyio.Event()
    await listening.add_listener(
        await sending.fetchval(CHANNEL),
        lambda *args: arrived.set() if str(probe) == str(args[-1]) else None,
    )
    if await sending.fetchval(PROBE, probe) is None:
        return well("hints", "not tried: there is no job yet, and so no user to write one for")
    try:
        with anyio.move_on_after(REPLY_SECONDS_MAX):
            await arrived.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await sending.execute(REMOVE, probe)
    if arrived.is_set():
        return well("hints", "a written row sent its hint at once")
    return wrong("hints", "a row was written, and no hint arrived", APPLY)
