"""Connections to PostgreSQL for whoever writes or asks for jobs, and what its refusals mean in words."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import asyncpg

from progress_service.jobs.schema import SchemaLacking, schema_lacking

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

ACQUIRE_SECONDS_MAX = 5.0
"""To wait for a connection, and to make one if need be."""

STATEMENT_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 2.0


class StoreUnavailable(Exception):
    """PostgreSQL cannot be used: it is away, refuses us, or lacks the schema. Later it may be otherwise."""


class UnknownUser(ValueError):
    """The job would belong to a user who is not in the application's table of users."""


class InvalidJob(ValueError):
    """The row's values are such that a constraint of the table forbids them."""


@asynccontextmanager
async def opened_pool(dsn: str, *, connections_max: int) -> AsyncIterator["Pool"]:
    """A pool that connects when it must, so that it can be opened while PostgreSQL is away."""
    with _in_words():
        pool = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=connections_max,
            command_timeout=STATEMENT_SECONDS_MAX,
            # Named statements do not survive a pooler that lends a session for one transaction.
            statement_cache_size=0,
            server_settings={"application_name": "progress_service jobs"},
        )
        await pool
    try:
        yield pool
    finally:
        # Leaving politely takes a round trip; after that time asyncpg drops what is left.
        with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
            await pool.close()


@asynccontextmanager
async def acquired(pool: "Pool") -> AsyncIterator["Connection"]:
    """A connection of *pool*; what goes wrong while it is held is raised as this module's errors."""
    with _in_words():
        async with pool.acquire(timeout=ACQUIRE_SECONDS_MAX) as connection:
            yield connection


@contextmanager
def _in_words() -> Iterator[None]:
    """Raise what PostgreSQL refuses as errors whose message a person can act on.

    A violated unique index passes as `asyncpg.UniqueViolationError`.
    """
    try:
        yield
    except asyncpg.ForeignKeyViolationError as error:
        raise UnknownUser(f"the job's user does not exist: {error.detail}") from error
    except asyncpg.UniqueViolationError:
        raise  # Only who asked knows what it means that there is one already.
    except asyncpg.CheckViolationError as error:
        raise InvalidJob(_rule(error)) from error
    except asyncpg.DataError as error:
        # Class 22: among others a NUL in a text, or JSON that is none.
        raise InvalidJob(line_of(error)) from error
    except OverflowError as error:
        # What asyncpg raises for a date that Python cannot hold; the table's rules refuse new ones.
        raise InvalidJob("a date of the row is not from year 1 to 9999") from error
    except SchemaLacking as error:
        raise StoreUnavailable(schema_lacking(error)) from error
    except TimeoutError as error:
        raise StoreUnavailable("PostgreSQL cannot be used: it did not answer in time") from error
    except (
        OSError,
        ValueError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        # ValueError is what asyncpg makes of some DSNs, and its internal error what it says of a connection
        # that was interrupted while PostgreSQL stood still.
        raise StoreUnavailable(f"PostgreSQL cannot be used: {line_of(error)}") from error


def _rule(error: asyncpg.CheckViolationError) -> str:
    """The rule that was broken. In schema.sql the names of the rules are sentences."""
    return (error.constraint_name or line_of(error)).replace("_", " ")


def line_of(error: Exception) -> str:
    """The message, with its details and hints, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
