"""Ray's logs: one run beside the last one, and never more than their bound."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.node.ray_logs import begin, prune


def test_the_last_runs_logs_are_kept_and_no_more(tmp_path: Path) -> None:
    """Who looks why a gateway was killed may have started another one first."""
    for run in ("first", "second", "third"):
        (begin(tmp_path) / "raylet.out").write_text(run)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ray", "ray.before"]
    assert (tmp_path / "ray" / "raylet.out").read_text() == "third"
    assert (tmp_path / "ray.before" / "raylet.out").read_text() == "second"


def test_a_link_that_an_earlier_release_left_is_replaced(tmp_path: Path) -> None:
    """It led into a folder that is gone."""
    (tmp_path / "ray").symlink_to(tmp_path / "gone")

    assert begin(tmp_path).is_dir()
    assert not (tmp_path / "ray").is_symlink()


@pytest.mark.parametrize(
    ("bounds", "left"), [({"max_bytes": 250}, [3, 4]), ({"max_files": 3}, [2, 3, 4]), ({}, range(5))]
)
def test_what_was_written_least_recently_goes_first(tmp_path: Path, bounds: dict[str, int], left: list[int]) -> None:
    """By bytes and by number, in folders below too; within the bounds nothing goes."""
    (tmp_path / "serve").mkdir()
    for number in range(5):
        path = tmp_path / ("serve" if number % 2 else "") / f"worker-{number}.out"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))

    prune(tmp_path, **bounds)

    assert sorted(path.stem for path in tmp_path.rglob("*.out")) == [f"worker-{number}" for number in left]
