"""Takes a state directory for one gateway at a time, and tidies up after it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from router.layout import Layout, fits
from serving.atomic_file import replace_file

_SHORT_PREFIX: Final = "shepherd-"
_POLL_S: Final = 0.05


class StateDirTaken(Exception):
    """Another gateway runs on this directory."""


class NodeRecord(msgspec.Struct, frozen=True):
    """What a running gateway says of itself in `STATE/run/node.json`."""

    pid: int
    http: str
    grpc: str
    metrics: str
    admin: str
    started_at: float
    """Unix seconds."""
    door_pid: int | None = None
    """The Envoy that serves gRPC; None where routers do."""
    stop_s: float = 20.0
    """How long it may take to end when it is asked to."""


@contextmanager
def taken(state_dir: Path) -> Iterator[Layout]:
    """Hold a state directory, made if need be, and a fresh run directory; leave no run directory behind.

    Raises:
        StateDirTaken: another gateway holds it.
        OSError: it cannot be made or written.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    with _locked(state_dir / "lock", state_dir):
        run_dir = _fresh_run_dir(state_dir)
        try:
            layout = Layout(state_dir, run_dir)
            for name in ("logs", "registry", "cache", "spool", "metrics"):
                (state_dir / name).mkdir(mode=0o700, exist_ok=True)
            yield layout
        finally:
            for folder in {run_dir, state_dir / "run"}:
                shutil.rmtree(folder, ignore_errors=True)


def write_record(layout: Layout, record: NodeRecord) -> None:
    """Tell command lines that this gateway is ready, and where."""
    replace_file(layout.node_file, msgspec.json.encode(record))


def read_holder(state_dir: Path) -> int | None:
    """Read which process holds a state directory; None when none does."""
    try:
        with (state_dir / "lock").open("r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(state_dir / "lock")
    except OSError:
        return None
    return None


def has_let_go(state_dir: Path, pid: int, *, unready_s: float) -> bool:
    """Wait until a process that was asked to end holds a state directory no more, for as long as it may take.

    Args:
        state_dir: that it holds.
        pid: of the process.
        unready_s: how long one may take that has not said so yet.
    """
    try:
        record = msgspec.json.decode(Layout(state_dir, state_dir).node_file.read_bytes(), type=NodeRecord)
    except (OSError, msgspec.DecodeError):
        record = None
    deadline = time.monotonic() + (record.stop_s if record is not None else unready_s)
    while read_holder(state_dir) == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


@contextmanager
def _locked(path: Path, state_dir: Path) -> Iterator[None]:
    """Hold the lock; the kernel lets go of it however this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateDirTaken(
                f"{state_dir} is in use by the gateway with pid {_pid_in(path)}; stop it with "
                f"`shepherd down --state {state_dir}`, or give another directory with --state"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _pid_in(path: Path) -> int | None:
    text = path.read_text(encoding="ascii").strip()
    return int(text) if text.isdigit() else None


def _fresh_run_dir(state_dir: Path) -> Path:
    """Make an empty run directory, after removing what a killed gateway has left of its own."""
    own = state_dir / "run"
    elsewhere = own / "elsewhere"
    if elsewhere.is_symlink():
        shutil.rmtree(elsewhere.readlink(), ignore_errors=True)
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(mode=0o700)
    if fits(own):
        return own
    short = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir="/tmp"))
    elsewhere.symlink_to(short)
    return short
