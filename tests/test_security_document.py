"""docs/security.md points to what is there."""

import re
from pathlib import Path

from progress_service.settings import Settings

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TESTS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")}


def test_every_test_that_it_names_is_there() -> None:
    """A claim whose proof has gone is a claim that nobody checks."""
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    defined = set(re.findall(r"def (test_\w+)\(", "\n".join(TESTS.values())))
    assert len(named) > 15
    assert named <= defined
    assert set(re.findall(r"`(test_\w+\.py)`", TEXT)) <= set(TESTS)


def test_every_setting_that_it_names_is_there() -> None:
    """An operator who sets a name of old is told so at the start, but would rather know before."""
    named = set(re.findall(r"PROGRESS_([A-Z_]+)", TEXT))
    assert named <= {name.upper() for name in Settings.model_fields}
