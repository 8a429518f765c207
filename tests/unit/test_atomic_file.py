"""Files replaced as a whole: never half of one, whoever dies or whatever the disk refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from serving.atomic_file import name_to_replace, replace_file, replacing
from tests.full_disk import full_disk

REPLACE_FOR_EVER = """
import sys
from pathlib import Path
from serving.atomic_file import replace_file

while True:
    for letter in b"ab":
        replace_file(Path(sys.argv[1]), bytes([letter]) * 100_000)
"""


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path, *, durable: bool) -> None:
    """For its owner's eyes only, whether or not there was one before."""
    path = tmp_path / "a.json"
    for content in (b"old", b"new"):
        replace_file(path, content, durable=durable)

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_others_read_gets_the_permissions_that_any_file_gets(tmp_path: Path) -> None:
    """A table that a gateway fills is for those who analyse it."""
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "table", mode=0o666) as unfinished:
        unfinished.write_bytes(b"rows")

    assert (tmp_path / "table").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("durable", [False, True])
def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, *, durable: bool) -> None:
    """And no unfinished one."""
    path = tmp_path / "a.json"
    replace_file(path, b"old")

    with full_disk(), pytest.raises(OSError, match="too large"):
        replace_file(path, b"new", durable=durable)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_names_the_file_that_was_to_be_replaced(tmp_path: Path) -> None:
    """The same each time, so that a trouble that lasts is told once."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        replace_file(tmp_path / "folder", b"new")
    assert refused.value.filename == str(tmp_path / "folder")
    with pytest.raises(FileNotFoundError) as absent:
        replace_file(tmp_path / "nowhere" / "a.json", b"new")
    assert absent.value.filename == str(tmp_path / "nowhere" / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_block_that_raises_replaces_nothing(tmp_path: Path) -> None:
    """The half that it wrote goes."""
    with suppress(ZeroDivisionError), replacing(tmp_path / "a") as unfinished:
        unfinished.write_bytes(b"half")
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


def test_readers_see_whole_files_while_writers_replace_them_and_die(tmp_path: Path) -> None:
    """Several at a time, killed in whatever they do; what a kill leaves beside tells what it was to replace."""
    path = tmp_path / "a.b.json"
    replace_file(path, b"a" * 100_000)
    writers = [subprocess.Popen([sys.executable, "-c", REPLACE_FOR_EVER, str(path)]) for _ in range(2)]
    first = path.stat().st_ino
    seen: set[int] = set()
    while len(seen) < 2 or path.stat().st_ino == first:
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (100_000, 1)
        seen.add(content[0])
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()

    assert {name_to_replace(each.name) or each.name for each in tmp_path.iterdir()} == {"a.b.json"}


@pytest.mark.parametrize("name", ["a.json", "a.tmp", ".hidden", ".tmp", ".x.tmp", "..tmp"])
def test_other_names_are_of_no_unfinished_file(name: str) -> None:
    """Whoever tidies up removes nothing else."""
    assert name_to_replace(name) is None
