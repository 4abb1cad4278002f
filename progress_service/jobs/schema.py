"""The database's side of the service, `schema.sql`: where its text is, and how it gets into a database."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

CONNECT_SECONDS_MAX = 10.0

PACKAGE = Path(__file__).parent.parent

ONE_EXCLUSIVE = "one_exclusive_job_at_a_time"
"""The unique index by which a user has one exclusive job at a time."""

SchemaLacking = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError)
"""What PostgreSQL raises where the schema is missing, or is older than the program."""


def schema_text(feed: Literal["notify", "wal"] | None = None) -> str:
    """The text of `schema.sql`: from the installed package, or from beside it in a checkout.

    *feed* says whether changes are told by triggers, or left to the log; None leaves that as it is.
    """
    installed = PACKAGE / "schema.sql"
    path = installed if installed.exists() else PACKAGE.parent / "schema.sql"
    choice = "" if feed is None else f"SET progress_service.feed = '{feed}';\n\n"
    return choice + path.read_text(encoding="utf-8")


class SchemaError(Exception):
    """The schema cannot be applied; the text says why."""


def schema_lacking(error: BaseException) -> str:
    """What to say of a `SchemaLacking`: with the command that mends it."""
    return f"{error} (the schema is missing or old: run `progress-service schema --apply`)"


async def apply_schema(dsn: str, sql: str) -> list[str]:
    """Apply *sql* to the database of *dsn*, wholly or not at all, and return what PostgreSQL remarked.

    Raises:
        SchemaError: There is no PostgreSQL at *dsn*, or it refused; the database is as it was.
    """
    remarks: list[str] = []

    def note(
        _connection: "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]",
        message: asyncpg.PostgresLogMessage,
    ) -> None:
        remarks.append(" ".join(part for part in (message.message, message.hint) if part))

    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX)
        try:
            connection.add_log_listener(note)
            await connection.execute(sql)
        finally:
            await connection.close()
    except asyncpg.PostgresError as error:
        raise SchemaError(f"PostgreSQL refused: {error}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise SchemaError(f"PostgreSQL cannot be reached: {str(error) or type(error).__name__}") from error
    return remarks
