"""Is what `schema.sql` makes there, whole, and switched on?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from progress_service.core.model import Instant
from progress_service.doctor.finding import Finding, Findings, note, well, wrong
from progress_service.wire import rows

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

APPLY = "progress-service schema --apply"
ROWS_READ_MAX = 10_000

# Those that a table of the older shape has not.
NEWER_COLUMNS = (
    *("label", "requested", "error", "revision", "exclusive", "started_at", "finished_at", "heartbeat_at"),
    *("lease_token", "lease_seconds", "cursor", "ended_by", "idempotency_key", "idempotency_digest"),
    "told_at",
)
TRIGGERS = ("zz_keep_order", "tell_of_inserts", "tell_of_updates", "tell_of_deletes", "tell_of_truncation")

LACKING = """
    SELECT array_agg(name) FROM unnest($1::text[]) AS name
    WHERE NOT EXISTS (SELECT FROM pg_attribute
        WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND attname = name AND NOT attisdropped)
"""
TRIGGER_STATES = """
    SELECT tgname, tgenabled IN ('O', 'A') AS fires
    FROM pg_trigger WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND NOT tgisinternal
"""
# One constraint stands for all rules of ours; others, such as that of users, for themselves.
CONSTRAINTS = """
    SELECT conname, convalidated FROM pg_constraint
    WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype IN ('c', 'f') ORDER BY conname
"""
EVERY_RULE = "every_rule_is_kept"
BROKEN_RULES = """
    SELECT DISTINCT name FROM bulk_enrichment_jobs AS job,
        unnest(bulk_enrichment_jobs_broken_rules(job, false)) AS name
    ORDER BY name
"""
EXCLUSIVE = "SELECT to_regclass('one_exclusive_job_at_a_time') IS NOT NULL"
REPLICA_IDENTITY = "SELECT relreplident FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass"
AT_WORK = """
    SELECT bulk_enrichment_job_report(job)::text FROM bulk_enrichment_jobs AS job
    WHERE status IN ('pending', 'running', 'paused') LIMIT $1
"""


async def looked_at(connection: "Connection") -> Findings:
    """Look at the table and what belongs to it; where the table is missing there is nothing else to see."""
    if await connection.fetchval("SELECT to_regclass('bulk_enrichment_jobs')") is None:
        said = "the table bulk_enrichment_jobs is not there, or not in the search_path"
        yield wrong("table", said, APPLY)
        return
    lacking: Sequence[str] | None = await connection.fetchval(LACKING, NEWER_COLUMNS)
    if lacking:
        said = f"bulk_enrichment_jobs is of an older shape: it lacks {', '.join(sorted(lacking))}"
        yield wrong("table", said, APPLY)
        return
    yield well("table", "bulk_enrichment_jobs has every column")
    yield await _triggers(connection)
    yield await _rules(connection)
    if not await connection.fetchval(EXCLUSIVE):
        said = "exclusive jobs are not kept apart: the index one_exclusive_job_at_a_time is missing"
        yield wrong("exclusive jobs", said, APPLY)
    if await connection.fetchval(REPLICA_IDENTITY) not in (b"i", b"f"):
        said = "the write-ahead log does not tell whose row was deleted (replica identity)"
        yield note("replica identity", said, APPLY)
    yield await _rows(connection)


async def _triggers(connection: "Connection") -> Finding:
    """Whether changes are ordered and told. Triggers that were disabled for an import are often forgotten."""
    if await connection.fetchval("SHOW session_replication_role") == "replica":
        said = "no trigger fires in our sessions: session_replication_role is replica"
        role = await connection.fetchval("SELECT quote_ident(current_user)")
        return wrong("triggers", said, f"ALTER ROLE {role} RESET session_replication_role;")
    fires = {row["tgname"]: row["fires"] for row in await connection.fetch(TRIGGER_STATES)}
    if missing := [name for name in TRIGGERS if name not in fires]:
        return wrong("triggers", f"missing: {', '.join(missing)}", APPLY)
    if silent := [name for name in TRIGGERS if not fires[name]]:
        remedy = " ".join(f"ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER {name};" for name in silent)
        return wrong("triggers", f"disabled: {', '.join(silent)}", remedy)
    return well("triggers", f"all {len(TRIGGERS)} are enabled")


async def _rules(connection: "Connection") -> Finding:
    """Whether what is written must keep the rules, and what was written before does."""
    is_proven = {row["conname"]: row["convalidated"] for row in await connection.fetch(CONSTRAINTS)}
    if EVERY_RULE not in is_proven:
        said = f"the constraint {EVERY_RULE} is missing: rows may say what cannot be shown"
        return wrong("rules", said, APPLY)
    broken = [name for name in is_proven if not is_proven[name] and name != EVERY_RULE]
    if not is_proven[EVERY_RULE]:
        broken += [row["name"] for row in await connection.fetch(BROKEN_RULES)] or [EVERY_RULE]
    if broken:
        said = f"older rows break {', '.join(broken)}, and some cannot be shown"
        return note("rules", said, f"mend those rows, then: {APPLY}")
    return well("rules", "every row keeps them")


async def _rows(connection: "Connection") -> Finding:
    """Whether every job at work can be shown."""
    found = await connection.fetch(AT_WORK, ROWS_READ_MAX)
    _, malformed = rows.jobs_reported([row[0] for row in found], Instant(0.0))
    if malformed:
        worst = malformed[0]
        said = f"{len(malformed)} of {len(found)} jobs at work cannot be shown; {worst.id}: {worst.reason}"
        remedy = f"mend what the row {worst.id} of bulk_enrichment_jobs says"
        return wrong("rows", said, remedy)
    return well("rows", f"{len(found)} jobs at work, each can be shown")
