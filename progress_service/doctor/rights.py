"""Does our role see everybody's rows, and does everybody else see their own alone?"""

import json
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

from progress_service.doctor.finding import Finding, Findings, well, wrong
from progress_service.doctor.schema import APPLY

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

STANDING = """
    SELECT quote_ident(current_user) AS role,
        row_security_active('bulk_enrichment_jobs') AS is_bound,
        relrowsecurity AS is_on, relforcerowsecurity AS is_forced,
        pg_get_userbyid(relowner) = current_user AS is_owner,
        has_table_privilege(pg_class.oid, 'SELECT') AND has_table_privilege(pg_class.oid, 'INSERT')
            AND has_table_privilege(pg_class.oid, 'UPDATE')
            AND has_table_privilege(pg_class.oid, 'DELETE') AS may_write
    FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass
"""
PEOPLE = "SELECT rolsuper OR rolbypassrls AS is_above FROM pg_roles WHERE rolname = 'authenticated'"
OTHER_POLICIES = """
    SELECT array_agg(quote_ident(polname)) FROM pg_policy
    WHERE polrelid = 'bulk_enrichment_jobs'::regclass AND polpermissive
        AND polname <> 'people_have_their_own_jobs'
"""
CLAIMS = "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)"
SUBJECT = "who sees what"


async def looked_at(connection: "Connection") -> Findings:
    """Look at our role, and then at the table with the eyes of somebody who has no job."""
    found = await connection.fetchrow(STANDING)
    assert found is not None
    role = found["role"]
    if found["is_bound"]:
        if found["is_owner"] and found["is_forced"]:
            remedy = "ALTER TABLE bulk_enrichment_jobs NO FORCE ROW LEVEL SECURITY;"
        else:
            remedy = f"ALTER TABLE bulk_enrichment_jobs OWNER TO {role};"
        yield wrong("our role", f"row-level security hides rows from {role}, and so from every bar", remedy)
    elif not found["may_write"]:
        said = f"{role} may not read and write bulk_enrichment_jobs"
        remedy = f"GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_enrichment_jobs TO {role};"
        yield wrong("our role", said, remedy)
    else:
        yield well("our role", f"{role} sees every row")
    if not found["is_on"]:
        said = "row-level security is off: a person can read and command everybody's jobs"
        yield wrong(SUBJECT, said, "ALTER TABLE bulk_enrichment_jobs ENABLE ROW LEVEL SECURITY;")
        return
    yield await _people(connection, role)


async def _people(connection: "Connection", role: str) -> Finding:
    standing = await connection.fetchrow(PEOPLE)
    if standing is None:
        return wrong(SUBJECT, "the role authenticated, which people act as, is not there", APPLY)
    if standing["is_above"]:
        said = "the role authenticated is above row-level security: people see everybody's jobs"
        return wrong(SUBJECT, said, "ALTER ROLE authenticated NOSUPERUSER NOBYPASSRLS;")
    transaction = connection.transaction()
    await transaction.start()
    try:
        with suppress(asyncpg.PostgresError):
            await connection.execute("SET LOCAL statement_timeout = '5s'")
        await connection.execute(CLAIMS, json.dumps({"sub": str(uuid4()), "role": "authenticated"}))
        foreign = await connection.fetchval(
            "SELECT count(*) FROM (SELECT FROM bulk_enrichment_jobs LIMIT 1000)"
        )
    except asyncpg.InsufficientPrivilegeError as error:
        if "set role" in str(error):
            return wrong(SUBJECT, f"{role} cannot act for people: {error}", f"GRANT authenticated TO {role};")
        return wrong(SUBJECT, f"people cannot read their own jobs: {error}", APPLY)
    finally:
        await transaction.rollback()
    others = await connection.fetchval(OTHER_POLICIES)
    if foreign:
        drop = " ".join(f"DROP POLICY {name} ON bulk_enrichment_jobs;" for name in others or ())
        return wrong(SUBJECT, f"somebody without any job sees {foreign} of other people's", drop or APPLY)
    return well(SUBJECT, "somebody without any job sees none")
