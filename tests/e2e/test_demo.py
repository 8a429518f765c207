"""The demo as a visitor runs it: trained, served, shown, and gone without a trace when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state for all runs: what the first has trained, the next find."""
    return tmp_path_factory.mktemp("demo") / "state"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Home and temporary folder of the run, where nothing may be left."""
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def ports() -> list[int]:
    """Four ports that are free."""
    return free_ports(4)


@pytest.fixture
def environment(state_dir: Path, elsewhere: Path, ports: list[int]) -> dict[str, str]:
    names = ("HTTP", "GRPC", "METRICS", "ADMIN")
    return {
        "PATH": os.environ["PATH"],  # noqa: TID251 - where programs are
        "HOME": str(elsewhere / "home"),
        "TMPDIR": str(elsewhere / "tmp"),
        "SHEPHERD_STATE": str(state_dir),
        **{f"SHEPHERD_{name}_PORT": str(port) for name, port in zip(names, ports, strict=True)},
    }


@contextmanager
def _demo(environment: dict[str, str], *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run it; it is gone afterwards, also when the test fails."""
    # A shell has what it starts in the background ignore Ctrl-C, which the tests would pass on.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "demo.main", "--rate", "50", *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            yield demo
        except BaseException:
            demo.kill()
            raise


def _processes_of(state_dir: Path) -> list[str]:
    """List the command lines of processes whose environment or arguments name the state directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(state_dir).encode() in text and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def _assert_no_trace(state_dir: Path, elsewhere: Path, ports: list[int]) -> None:
    assert _processes_of(state_dir) == []
    assert [path for path in elsewhere.rglob("*") if path.parent != elsewhere] == []
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


@pytest.fixture(autouse=True)
def _ended(state_dir: Path) -> Iterator[None]:
    """Leave nothing running when a test fails."""
    yield
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(state_dir).encode() in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def test_the_demo_serves_two_versions_and_a_shadow_and_leaves_no_trace(
    environment: dict[str, str], state_dir: Path, elsewhere: Path, ports: list[int]
) -> None:
    """From an empty state directory to a canary on real flights, and back."""
    with _demo(environment, "--seconds", "12") as demo:
        output, _ = demo.communicate()

    assert demo.returncode == 0, output
    last = [line for line in output.splitlines() if "stable=" in line][-1]
    assert "canary=" in last
    assert "shadow v3 agrees=" in last
    assert "+ 0 dropped" in last
    _assert_no_trace(state_dir, elsewhere, ports)


def test_ctrl_c_ends_everything(
    environment: dict[str, str], state_dir: Path, elsewhere: Path, ports: list[int]
) -> None:
    """In the middle of the traffic, from a state directory that was used before."""
    with _demo(environment) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if "stable=" in line:
                break

        demo.send_signal(signal.SIGINT)
        for _ in demo.stdout:
            pass

    assert demo.returncode == 0
    _assert_no_trace(state_dir, elsewhere, ports)
