"""The snapshot of policies on disk: durable, whole, and never a reason not to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.adapters.files.policy_snapshot import read_policy_snapshot, write_policy_snapshot
from router.policy.document import parse_policy
from router.ports import PolicySnapshot, StoredPolicy


def snapshot(epoch: int, *models: str) -> PolicySnapshot:
    variants = [{"name": "stable", "version": 1, "weight": 10_000}]
    return PolicySnapshot(
        epoch,
        {
            model: StoredPolicy(parse_policy({"model": model, "variants": variants}), epoch, "ada", "réason", 1.5)
            for model in models
        },
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "policies.json"


@pytest.mark.parametrize("models", [(), ("flights",), ("flights", "trains")])
def test_what_was_written_is_read_back(path: Path, models: tuple[str, ...]) -> None:
    """The folder is made when it is missing."""
    assert write_policy_snapshot(path, snapshot(7, *models))
    assert read_policy_snapshot(path) == (snapshot(7, *models), "")


def test_a_newer_snapshot_replaces_an_older_one_and_not_the_other_way_round(path: Path) -> None:
    """The routers of a node share the file, and one may be behind."""
    assert write_policy_snapshot(path, snapshot(7, "flights"))
    assert not write_policy_snapshot(path, snapshot(6))
    assert not write_policy_snapshot(path, snapshot(7))
    assert write_policy_snapshot(path, snapshot(8, "trains"))
    assert read_policy_snapshot(path).snapshot == snapshot(8, "trains")
    assert [file.name for file in path.parent.iterdir()] == ["policies.json"]


def test_without_a_file_there_is_a_reason(path: Path) -> None:
    """The first start."""
    assert read_policy_snapshot(path) == (None, f"{path}: there is no snapshot yet")


def test_any_single_damaged_byte_is_noticed_or_harmless(path: Path) -> None:
    """Never an exception, never another policy than was written."""
    write_policy_snapshot(path, snapshot(7, "flights"))
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x15]) + whole[position + 1 :])
        read = read_policy_snapshot(path)
        assert read.snapshot is None or read.snapshot == snapshot(7, "flights")
        assert (read.snapshot is None) == (read.reason != "")


def test_a_file_cut_short_is_noticed_at_any_length(path: Path) -> None:
    """A full disk, or a copy that was interrupted."""
    write_policy_snapshot(path, snapshot(7, "flights"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        read = read_policy_snapshot(path)
        assert read.snapshot is None
        assert str(path) in read.reason


def test_a_damaged_file_is_replaced_by_the_next_write(path: Path) -> None:
    """It needs no operator."""
    path.parent.mkdir()
    path.write_bytes(b"\xff\x00 nonsense")
    assert write_policy_snapshot(path, snapshot(1, "flights"))
    assert read_policy_snapshot(path).snapshot == snapshot(1, "flights")


def test_a_path_that_is_no_file_is_a_reason(tmp_path: Path) -> None:
    """Nor is any other trouble with reading an exception."""
    read = read_policy_snapshot(tmp_path)
    assert read.snapshot is None
    assert read.reason != ""


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    """The folder in the way stands for a full disk: the last step, the rename, fails."""
    path.parent.mkdir()
    path.mkdir()
    with pytest.raises(OSError, match="policies"):
        write_policy_snapshot(path, snapshot(1))
    assert [file.name for file in path.parent.iterdir()] == ["policies.json"]
