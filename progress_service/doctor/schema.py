"""The schema: is everything that `schema.sql` creates in place, and switched on?"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from progress_service.core.model import Instant
from progress_service.doctor.finding import Finding, Findings, guarded, note, well, wrong
from progress_service.wire.rows import COLUMNS, MalformedRow, decode_row

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

APPLY = "progress-service schema --apply"
ROWS_READ_MAX = 10_000

# Those that a table of the older shape has not.
NEWER_COLUMNS = (
    *("label", "requested", "error", "revision", "exclusive", "started_at", "finished_at", "heartbeat_at"),
    *("lease_token", "lease_seconds", "cursor", "ended_by", "idempotency_key", "idempotency_digest"),
)
ORDER_TRIGGER = "zz_bump_revision"
HINT_TRIGGERS = ("notify_delete", "notify_truncate")

LACKING = """
    SELECT array_agg(name) FROM unnest($1::text[]) AS name
    WHERE NOT EXISTS (SELECT FROM pg_attribute
        WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND attname = name AND NOT attisdropped)
"""
TRIGGER_STATES = """
    SELECT tgname, tgenabled IN ('O', 'A') AS fires, tgnargs = 0 AS sends_hints
    FROM pg_trigger WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND NOT tgisinternal
"""
CONSTRAINTS = """
    SELECT conname, convalidated FROM pg_constraint
    WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype IN ('c', 'f') ORDER BY conname
"""
SIZE_RULE = "progress_has_at_most_64_kib"
EXCLUSIVE = """
    SELECT EXISTS (SELECT FROM pg_index
        WHERE indexrelid = to_regclass('one_exclusive_job_at_a_time') AND indisvalid)
"""
ACTIVE_ROWS = f"""
    SELECT {COLUMNS} FROM bulk_enrichment_jobs
    WHERE status IN ('pending', 'running', 'paused') AND octet_length(progress::text) <= 65536 LIMIT $1
"""  # noqa: S608 - of constants.


async def looked_at(connection: "Connection") -> Findings:
    """Check the table and what belongs to it; without the table there is nothing else to check."""
    if await connection.fetchval("SELECT to_regclass('bulk_enrichment_jobs')") is None:
        said = "the table bulk_enrichment_jobs is missing, or not in the search_path"
        yield wrong("table", said, APPLY)
        return
    lacking: Sequence[str] | None = await connection.fetchval(LACKING, NEWER_COLUMNS)
    if lacking:
        said = f"bulk_enrichment_jobs has an older shape: it lacks {', '.join(sorted(lacking))}"
        yield wrong("table", said, APPLY)
        return
    yield well("table", "bulk_enrichment_jobs has every column")
    yield await guarded("triggers", partial(_triggers, connection))
    yield await guarded("rules", partial(_rules, connection))
    yield await guarded("exclusive jobs", partial(_exclusive, connection))
    yield await guarded("rows", partial(_rows, connection))


async def _triggers(connection: "Connection") -> Finding:
    """Whether changes are ordered and send hints. Triggers are often disabled for an import."""
    if await connection.fetchval("SHOW session_replication_role") == "replica":
        said = "no trigger fires in our sessions: session_replication_role is replica"
        role = await connection.fetchval("SELECT quote_ident(current_user)")
        return wrong("triggers", said, f"ALTER ROLE {role} RESET session_replication_role;")
    rows = await connection.fetch(TRIGGER_STATES)
    fires = {row["tgname"]: row["fires"] for row in rows}
    reads_log = any(row["tgname"] == ORDER_TRIGGER and not row["sends_hints"] for row in rows)
    expected = (ORDER_TRIGGER, *(() if reads_log else HINT_TRIGGERS))
    if missing := [name for name in expected if name not in fires]:
        return wrong("triggers", f"missing: {', '.join(missing)}", APPLY)
    if disabled := [name for name in expected if not fires[name]]:
        remedy = " ".join(f"ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER {name};" for name in disabled)
        return wrong("triggers", f"disabled: {', '.join(disabled)}", remedy)
    return well("triggers", f"all {len(expected)} are enabled")


async def _rules(connection: "Connection") -> Finding:
    """Whether older rows are proven to keep the rules."""
    is_proven = {row["conname"]: row["convalidated"] for row in await connection.fetch(CONSTRAINTS)}
    if SIZE_RULE not in is_proven:
        return wrong("rules", f"the constraint {SIZE_RULE} is missing: a row may be of any size", APPLY)
    if unproven := [name for name in is_proven if not is_proven[name]]:
        said = f"not validated: {', '.join(unproven)}; older rows may break it, and some cannot be shown"
        return note("rules", said, f"{APPLY}   # it counts the rows; correct them, and apply it again")
    return well("rules", "every row keeps them")


async def _exclusive(connection: "Connection") -> Finding:
    if await connection.fetchval(EXCLUSIVE):
        return well("exclusive jobs", "one at a time for each user")
    said = "exclusive jobs are not kept apart: the index one_exclusive_job_at_a_time is missing"
    return wrong("exclusive jobs", said, APPLY)


async def _rows(connection: "Connection") -> Finding:
    """Whether every active job can be shown."""
    rows = await connection.fetch(ACTIVE_ROWS, ROWS_READ_MAX)
    decoded = [decode_row(tuple(row), Instant(0.0)) for row in rows]
    malformed = [row for row in decoded if isinstance(row, MalformedRow)]
    if malformed:
        first = malformed[0]
        said = f"{len(malformed)} of {len(rows)} active jobs cannot be shown; {first.id}: {first.reason}"
        return wrong("rows", said, f"correct the row {first.id} of bulk_enrichment_jobs")
    return well("rows", f"{len(rows)} active jobs, each can be shown")
