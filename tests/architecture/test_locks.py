"""What the lock files hold: names, versions and hashes, so that any index serves them and none can change them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

each_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)


def _pinned(lock: Path) -> dict[str, str]:
    """Return each package's entry, by name; a package may have one entry per Python version."""
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in lock.read_text().splitlines() if line[:1] != "#"))
    return {re.split(r"[=\[; ]", entry, maxsplit=1)[0]: entry for entry in entries if entry.strip()}


@each_lock
def test_a_lock_names_no_address(lock: Path) -> None:
    """Where packages come from is the installing machine's business."""
    text = lock.read_text()

    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)", text, re.MULTILINE)


@each_lock
def test_every_package_is_pinned_by_version_and_hash(lock: Path) -> None:
    """Nothing is installed that was not looked at when the lock was made."""
    pinned = re.compile(r"[\w.\[\],-]+==\S+.*--hash=sha256:", re.DOTALL)

    loose = [name for name, entry in _pinned(lock).items() if not pinned.match(entry)]

    assert loose == []


def test_everything_that_the_project_asks_for_is_locked() -> None:
    """A dependency added without `make lock` would be missing from a fresh clone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["cpu"], *extras["demo"], *extras["dev"], *extras["export"]]
    names = {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower() for requirement in asked}

    assert names - _pinned(ROOT / "requirements" / "dev.txt").keys() == set()
