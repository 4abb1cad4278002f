"""The locks fit pyproject.toml: all that is needed is in them, at a version that will do, and nothing else.

Whether a locked version has a known weakness is another question, which takes an advisory service to answer;
docs/security.md says how.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# What the image has: it is a relay as well.
NEEDED = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["nats"]]
NEEDED_BY_DEVELOPERS = [
    *NEEDED,
    *PROJECT["project"]["optional-dependencies"]["demo"],
    *PROJECT["dependency-groups"]["dev"],
    *PROJECT["build-system"]["requires"],
]
LOCKS = {"requirements.txt": NEEDED, "requirements-dev.txt": NEEDED_BY_DEVELOPERS}
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)(?: ; (.*?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def pins(lock: str) -> Mapping[str, Version]:
    """What a lock holds, by name; each has a hash."""
    found: dict[str, Version] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if pin := PIN.match(line):
            found[canonicalize_name(pin[1])] = Version(pin[2])
        else:
            assert HASH.match(line) or line.lstrip().startswith("#"), line
    return found


def applicable(requirements: Iterable[str], extras: Iterable[str]) -> Iterable[Requirement]:
    """Those of *requirements* that count here, with these extras."""
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *extras]):
            yield requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_needed_is_locked_at_a_version_that_will_do(lock: str) -> None:
    """A dependency that is not in the lock is whatever the index has that day."""
    locked = pins(lock)
    waiting, seen = [*applicable(LOCKS[lock], [])], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{requirement} is not in {lock}; run: make lock"
        assert requirement.specifier.contains(locked[name], prereleases=True), (
            f"{lock} has {name} {locked[name]}"
        )
        if (name, *sorted(requirement.extras)) not in seen:
            seen.add((name, *sorted(requirement.extras)))
            try:
                waiting += applicable(requires(name) or [], requirement.extras)
            except PackageNotFoundError:
                pytest.fail(f"{name} is needed and not installed; run: make check")
    # What other systems need is in the lock too, and is not seen from here.
    text = (ROOT / lock).read_text(encoding="utf-8")
    elsewhere = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==\S+ ; ", text, re.MULTILINE)}
    assert set(locked) - {name for name, *_ in seen} <= elsewhere, "no longer needed; run: make lock"


def test_developers_test_what_is_shipped() -> None:
    """Two locks with two versions would mean that what runs is not what was tested."""
    developers = pins("requirements-dev.txt")
    assert {name: developers.get(name) for name in pins("requirements.txt")} == pins("requirements.txt")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index(lock: str) -> None:
    """Whoever installs from it has an index of their own."""
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8")
