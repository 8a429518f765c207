"""Logs of programs that know no bounds: kept short under their hands."""

from __future__ import annotations

import subprocess
from pathlib import Path

from router.node.child import start_child
from router.node.child_logs import keep_short

CAT = Path("/bin/cat")


def test_a_program_whose_log_was_kept_short_goes_on_at_its_beginning(tmp_path: Path) -> None:
    """What it had printed lies beside it, and no hole is left before what it prints then."""
    log, pipe = tmp_path / "envoy.log", tmp_path / "pipe"
    subprocess.run(["mkfifo", pipe], check=True)
    child = start_child(CAT, [str(pipe)], log=log)
    with pipe.open("wb", buffering=0) as printed:
        for part in (b"first\n" * 1000, b"second\n" * 1000, b"third\n"):
            printed.write(part)
            while not log.read_bytes().endswith(part):
                assert child.poll() is None
            keep_short(log, most_bytes=5000)
    child.wait(10)

    assert log.read_bytes() == b"third\n"
    assert (tmp_path / "envoy.log.1").read_bytes() == (b"second\n" * 1000)[-5000:]


def test_a_log_within_its_bound_or_not_there_is_left_alone(tmp_path: Path) -> None:
    """Most of them, for ever."""
    (tmp_path / "valkey.log").write_bytes(b"x" * 5000)
    for name in ("valkey.log", "envoy.log"):
        keep_short(tmp_path / name, most_bytes=5000)

    assert [path.name for path in tmp_path.iterdir()] == ["valkey.log"]
    assert (tmp_path / "valkey.log").stat().st_size == 5000


def test_an_old_log_is_as_private_as_the_log(tmp_path: Path) -> None:
    """`node.log` is for its owner alone."""
    log = tmp_path / "node.log"
    log.touch(mode=0o600)
    log.write_bytes(b"x" * 10)
    keep_short(log, most_bytes=5)

    assert (tmp_path / "node.log.1").stat().st_mode & 0o777 == 0o600
