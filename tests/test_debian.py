"""Servers that the tests start: what is here is found, and what is not is said with what would help."""

from pathlib import Path

import pytest

from tests import debian


def test_a_program_is_found_by_its_variable_first_and_unpacked_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has another version beside the system's can try that one."""
    own, unpacked = tmp_path / "own-promtool", tmp_path / "usr/bin/promtool"
    unpacked.parent.mkdir(parents=True)
    for path in (own, unpacked):
        path.touch(mode=0o755)
    monkeypatch.setattr(debian, "FOLDER", tmp_path)
    monkeypatch.setattr(debian, "PLACES", ("usr/bin",))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("PROMTOOL", str(own))
    assert debian.program("promtool") == own
    monkeypatch.delenv("PROMTOOL")
    if not Path("/usr/bin/promtool").exists():
        assert debian.program("promtool") == unpacked


def test_one_that_is_missing_fails_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skipped test would pass in silence."""
    monkeypatch.setattr(debian, "FOLDER", tmp_path)
    monkeypatch.setattr(debian, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PROMETHEUS", raising=False)
    with pytest.raises(LookupError, match="install prometheus, or set PROMETHEUS to its path"):
        debian.program("prometheus")


def test_of_postgresql_the_installed_one_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the client's package alone, the folder is there and the server is not."""
    installed, unpacked = tmp_path / "installed", tmp_path / "unpacked"
    monkeypatch.setattr(debian, "FOLDER", tmp_path)
    monkeypatch.setattr(debian, "POSTGRES", str(installed))
    monkeypatch.setattr(debian, "POSTGRES_UNPACKED", "unpacked")
    for folder in (installed, unpacked):
        folder.mkdir()
    assert debian.postgres() is None
    (unpacked / "initdb").touch()
    assert debian.postgres() == unpacked
    (installed / "initdb").touch()
    assert debian.postgres() == installed
