"""What PostgreSQL knows about the schema of a database, in a form that can be compared."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.postgres import Connection

# Each part without numbers that PostgreSQL gives out, and without the order in which columns were added.
PARTS = {
    "tables": """
        SELECT relname, relkind, relrowsecurity, relforcerowsecurity, relreplident, reloptions,
            coalesce(relacl, acldefault('r', relowner))::text,
            obj_description(oid)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'p', 'S')
    """,
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(adbin, adrelid), col_description(attrelid, attnum), attacl::text
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": """
        SELECT pg_get_indexdef(indexrelid), indisreplident, indisvalid
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = 'public'::regnamespace
    """,
    "triggers": """
        SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal
    """,
    "functions": """
        SELECT pg_get_functiondef(oid), proacl::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
    "policies": "SELECT * FROM pg_policies",
    "publications": """
        SELECT pubname, pubinsert, pubupdate, pubdelete, pubtruncate, tablename, rowfilter,
            (SELECT array_agg(name ORDER BY name) FROM unnest(attnames) AS name)
        FROM pg_publication JOIN pg_publication_tables USING (pubname)
    """,
    "types": """
        SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
    """,
}


async def catalog(connection: "Connection") -> dict[str, list[str]]:
    """Everything that `schema.sql` may have made or changed, part by part, each in alphabetical order."""
    return {part: sorted(repr(tuple(row)) for row in await connection.fetch(PARTS[part])) for part in PARTS}
