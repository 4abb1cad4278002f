"""Does a notification really come through, and does a change of a row really send one?"""

from typing import TYPE_CHECKING
from uuid import uuid4

import anyio

from progress_service.doctor.finding import Finding, Findings, note, well, wrong
from progress_service.doctor.schema import APPLY
from progress_service.feeds.database import CHANNEL, SEND

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

REPLY_SECONDS_MAX = 5.0
QUEUE_SHARE_MAX = 0.5

# A row that ended long ago: streams are told nothing of it, and it is gone a moment later.
PROBE = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, label, status, created_at, finished_at)
    SELECT $1, (SELECT user_id FROM bulk_enrichment_jobs LIMIT 1), 'progress-service doctor', 'cancelled',
        now() - interval '1 day', now() - interval '1 day'
    WHERE EXISTS (SELECT FROM bulk_enrichment_jobs)
    RETURNING id
"""
REMOVE = "DELETE FROM bulk_enrichment_jobs WHERE id = $1"
HOLDING_UP = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL
        AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1
"""


async def looked_at(listening: "Connection", speaking: "Connection", *, has_table: bool) -> Findings:
    """Speak on one connection and listen on the other."""
    is_pooled = listening.get_server_pid() != await listening.fetchval("SELECT pg_backend_pid()")
    if is_pooled:
        said = "a pooler stands between us and PostgreSQL"
        yield note("pooler", said, "DATABASE_URL should name PostgreSQL itself, or a pooler in session mode")
    word = uuid4().hex
    if not await _heard(listening, f"doctor_{word}", word, speaking):
        remedy = (
            "name PostgreSQL itself in DATABASE_URL (Supabase: port 5432, not 6543), or PROGRESS_FEED=poll"
        )
        yield wrong("LISTEN", f"a notification did not come back within {REPLY_SECONDS_MAX:.0f} s", remedy)
        return
    yield well("LISTEN", "a notification came back")
    yield await _queue(speaking)
    if has_table:
        yield await _telling(listening, speaking)


async def _heard(listening: "Connection", channel: str, word: str, speaking: "Connection") -> bool:
    came = anyio.Event()
    await listening.add_listener(channel, lambda *heard: came.set() if word in str(heard[-1]) else None)
    await speaking.execute(SEND, channel, word)
    with anyio.move_on_after(REPLY_SECONDS_MAX):
        await came.wait()
    return came.is_set()


async def _queue(connection: "Connection") -> Finding:
    """Notifications wait until the slowest listener has read them; when there is no room, writers fail."""
    share = await connection.fetchval("SELECT pg_notification_queue_usage()")
    if share > QUEUE_SHARE_MAX:
        pid = await connection.fetchval(HOLDING_UP)
        said = f"the queue of notifications is {share:.0%} full: a listener never ends its transaction"
        return wrong("queue", said, f"SELECT pg_terminate_backend({pid or 'pid'});")
    return well("queue", f"{share:.0%} full")


async def _telling(listening: "Connection", speaking: "Connection") -> Finding:
    """Write a row that nobody sees, and listen for it."""
    probe, came = uuid4(), anyio.Event()
    await listening.add_listener(CHANNEL, lambda *heard: came.set() if str(probe) in str(heard[-1]) else None)
    if await speaking.fetchval(PROBE, probe) is None:
        return well("telling", "not tried: there is no job yet, and so no user to write one for")
    try:
        with anyio.move_on_after(REPLY_SECONDS_MAX):
            await came.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await speaking.execute(REMOVE, probe)
    if came.is_set():
        return well("telling", "a written row was told at once")
    return wrong("telling", "a row was written, and nothing was told of it", APPLY)
