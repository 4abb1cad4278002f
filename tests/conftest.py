"""What any test may ask for: a real PostgreSQL, and a database on it that is its own."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from progress_service.embedded import embedded_postgres
from tests.onlooker import Database
from tests.postgres import connected, database_with_schema, new_user
from tests.postgres import database as temporary_database
from tests.postgres_versions import VERSIONS, programs_of

# Nothing that a test writes needs to outlive a power cut. The library with which Debian's PostgreSQL compiles
# queries is not unpacked (tests/debian.py).
HASTY = {"fsync": "off", "full_page_writes": "off", "jit": "off"}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop that the service runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """One PostgreSQL 18 for the whole run: the DSN of its superuser."""
    with _server(18) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(postgres_dsn: str) -> Iterator[str]:
    """The name of a database with the schema, to be copied."""
    with database_with_schema(postgres_dsn) as name:
        yield name


@pytest.fixture
def dsn(postgres_dsn: str, template: str) -> Iterator[str]:
    """A database of the test's own, with the schema."""
    with temporary_database(postgres_dsn, template=template) as dsn:
        yield dsn


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """The test's database, with one user, as somebody beside the worker sees it."""
    async with connected(dsn) as connection:
        yield Database(dsn, connection, await new_user(connection))


@pytest.fixture
def empty_dsn(postgres_dsn: str) -> Iterator[str]:
    """A database of the test's own, with nothing in it."""
    with temporary_database(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=VERSIONS, ids="PostgreSQL {}".format)
def each_postgres_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each PostgreSQL that is supported, one after the other; pytest puts the tests of a version together."""
    if request.param == 18:
        # The one that the other tests have, which is there until the end.
        yield request.getfixturevalue("postgres_dsn")
        return
    with _server(request.param) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def each_template(each_postgres_dsn: str) -> Iterator[str]:
    """As `template`, on each PostgreSQL."""
    with database_with_schema(each_postgres_dsn) as name:
        yield name


@pytest.fixture
def each_dsn(each_postgres_dsn: str, each_template: str) -> Iterator[str]:
    """As `dsn`, on each PostgreSQL."""
    with temporary_database(each_postgres_dsn, template=each_template) as dsn:
        yield dsn


@pytest.fixture
def each_empty_dsn(each_postgres_dsn: str) -> Iterator[str]:
    """As `empty_dsn`, on each PostgreSQL."""
    with temporary_database(each_postgres_dsn) as dsn:
        yield dsn


@contextmanager
def _server(version: int) -> Iterator[str]:
    with (
        # Not pytest's own folder, which pytest closes to the account that PostgreSQL runs as under root.
        tempfile.TemporaryDirectory(prefix="progress-") as folder,
        embedded_postgres(
            Path(folder), version=version, programs=programs_of(version), settings=HASTY
        ) as dsn,
    ):
        yield dsn
