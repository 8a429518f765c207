"""docs/security.md names tests and modules that exist: a promise whose proof was renamed away is no promise."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_proof_named_on_the_security_page_exists() -> None:
    """As a test function of that name in that file."""
    named = re.findall(r"`(tests/\S+?\.py)::(test_\w+)`", PAGE)
    missing = [f"{file}::{test}" for file, test in named if not _defines(ROOT / file, test)]

    assert len(named) > 50
    assert missing == []


def test_every_module_named_on_the_security_page_exists() -> None:
    """By its path."""
    assert [path for path in re.findall(r"`((?:router|serving)/\S+?\.py)`", PAGE) if not (ROOT / path).exists()] == []


def _defines(file: Path, test: str) -> bool:
    return file.exists() and re.search(rf"def {test}\(", file.read_text()) is not None
