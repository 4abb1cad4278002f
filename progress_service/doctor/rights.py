"""Rights: does our role see all rows, and does a person see only their own?"""

import json
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

from progress_service.doctor.finding import Finding, Findings, guarded, well, wrong
from progress_service.doctor.schema import APPLY

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

STANDING = """
    SELECT quote_ident(current_user) AS role,
        row_security_active('bulk_enrichment_jobs') AS is_bound,
        relforcerowsecurity AS is_forced,
        pg_get_userbyid(relowner) = current_user AS is_owner,
        has_table_privilege(pg_class.oid, 'SELECT') AND has_table_privilege(pg_class.oid, 'INSERT')
            AND has_table_privilege(pg_class.oid, 'UPDATE')
            AND has_table_privilege(pg_class.oid, 'DELETE') AS may_write
    FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass
"""
SECURITY = "SELECT relrowsecurity FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass"
PEOPLE = """
    SELECT rolsuper OR rolbypassrls AS is_above,
        EXISTS (SELECT FROM pg_policy
            WHERE polrelid = 'bulk_enrichment_jobs'::regclass AND polname = 'owner_only') AS has_policy
    FROM pg_roles WHERE rolname = 'authenticated'
"""
OTHER_POLICIES = """
    SELECT array_agg(quote_ident(polname)) FROM pg_policy
    WHERE polrelid = 'bulk_enrichment_jobs'::regclass AND polpermissive
        AND polname <> 'owner_only'
"""
CLAIMS = "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)"
SUBJECT = "who sees what"
CREATE_ROLE = "CREATE ROLE authenticated NOLOGIN; GRANT authenticated TO {role}; -- then: " + APPLY
GRANT = (
    "GRANT SELECT (id, user_id, label, status, requested, progress, error, revision, exclusive, created_at, "
    "started_at, updated_at, finished_at, ended_by, idempotency_key, idempotency_digest), "
    "INSERT (user_id, label, progress, exclusive, idempotency_key, idempotency_digest), "
    "UPDATE (requested) ON bulk_enrichment_jobs TO authenticated;"
)
"""As step `access` of schema.sql, which leaves rights alone once the policy is there."""


async def looked_at(connection: "Connection") -> Findings:
    """Check our role, and then the table as a user who has no job."""
    yield await guarded("our role", partial(_role, connection))
    yield await guarded(SUBJECT, partial(_people, connection))


async def _role(connection: "Connection") -> Finding:
    found = await connection.fetchrow(STANDING)
    assert found is not None
    role = found["role"]
    if found["is_bound"]:
        if found["is_owner"] and found["is_forced"]:
            remedy = "ALTER TABLE bulk_enrichment_jobs NO FORCE ROW LEVEL SECURITY;"
        else:
            remedy = f"ALTER TABLE bulk_enrichment_jobs OWNER TO {role};"
        return wrong("our role", f"row-level security hides rows from {role}, and so from every bar", remedy)
    if not found["may_write"]:
        said = f"{role} may not read and write bulk_enrichment_jobs"
        remedy = f"GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_enrichment_jobs TO {role};"
        return wrong("our role", said, remedy)
    return well("our role", f"{role} sees every row")


async def _people(connection: "Connection") -> Finding:  # noqa: PLR0911 - one for each fault.
    role = await connection.fetchval("SELECT quote_ident(current_user)")
    found = await connection.fetchrow(PEOPLE)
    if found is None:
        said = "the role authenticated, which requests of people run as, is missing"
        return wrong(SUBJECT, said, CREATE_ROLE.format(role=role))
    if not await connection.fetchval(SECURITY):
        said = "row-level security is off: a person can read and command all jobs"
        return wrong(SUBJECT, said, "ALTER TABLE bulk_enrichment_jobs ENABLE ROW LEVEL SECURITY;")
    if found["is_above"]:
        said = "the role authenticated is above row-level security: people see all jobs"
        return wrong(SUBJECT, said, "ALTER ROLE authenticated NOSUPERUSER NOBYPASSRLS;")
    if not found["has_policy"]:
        return wrong(SUBJECT, "the policy owner_only is missing: people do not see their own jobs", APPLY)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL statement_timeout = '5s'")
        await connection.execute(CLAIMS, json.dumps({"sub": str(uuid4()), "role": "authenticated"}))
        foreign = await connection.fetchval(
            "SELECT count(*) FROM (SELECT id FROM bulk_enrichment_jobs LIMIT 1000) AS visible"
        )
    except asyncpg.InsufficientPrivilegeError as error:
        if "set role" in str(error):
            return wrong(SUBJECT, f"{role} cannot act for people: {error}", f"GRANT authenticated TO {role};")
        return wrong(SUBJECT, f"people cannot read their own jobs: {error}", GRANT)
    finally:
        await transaction.rollback()
    if foreign:
        others = await connection.fetchval(OTHER_POLICIES)
        drop = " ".join(f"DROP POLICY {name} ON bulk_enrichment_jobs;" for name in others or ())
        return wrong(SUBJECT, f"a user without any job sees {foreign} of other users'", drop or APPLY)
    return well(SUBJECT, "a user without any job sees none")
