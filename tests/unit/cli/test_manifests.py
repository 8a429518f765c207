"""Policies as files: a variant may name an alias alone, and is then where the gateway has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.cli.manifests import ManifestError, compare, read_manifests

FILE = """\
model: m
variants:
  - {name: stable, alias: champion, weight: 10000}
"""


def standing(**variant: Any) -> dict[str, Any]:
    """A policy as the API gives it."""
    shown = {"name": "stable", "version": 7, "weight": 10_000, "alias": "champion"} | variant
    return {"model": "m", "variants": [shown], "revision": 5, "actor": "registry"}


def wanted(folder: Path, text: str = FILE) -> dict[str, dict[str, Any]]:
    (folder / "m.yaml").write_text(text)
    return read_manifests(folder)


def test_an_alias_that_has_moved_is_no_difference_to_a_file_that_names_it_alone(tmp_path: Path) -> None:
    """So `apply` stays idempotent, and never takes the traffic back to where an alias was."""
    assert compare(wanted(tmp_path), [standing()], prune=True) == []
    assert compare(wanted(tmp_path), [standing(version=8)], prune=True) == []


@pytest.mark.parametrize("other", [{"alias": "production"}, {"name": "main"}])
def test_another_alias_or_variant_is_left_for_the_gateway_to_pin(tmp_path: Path, other: dict[str, Any]) -> None:
    """Nothing here knows where an alias points."""
    (difference,) = compare(wanted(tmp_path), [standing(**other)], prune=True)
    assert difference.after == {"model": "m", "variants": [{"name": "stable", "weight": 10_000, "alias": "champion"}]}


def test_the_rest_of_such_a_document_is_checked_as_ever(tmp_path: Path) -> None:
    """The file and the field are named."""
    with pytest.raises(ManifestError, match=r"m\.yaml: variants: the weights sum to 9000"):
        wanted(tmp_path, FILE.replace("10000", "9000"))
