"""Programs as child processes, `shepherd up` before all: started, waited for, ended; for whoever drives a gateway."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import httpx

from router.admin.auth import TOKEN_FILE
from router.cli.client import AdminClient, GatewayUnreachable
from router.cli.location import Node, find_node

_SHEPHERD: Final = (sys.executable, "-m", "router.cli.main")
#: The gateway drains and ends by itself well within this; after it, its process group is killed.
_STOP_S: Final = 17.0
_COMMAND_S: Final = 180.0
_POLL_S: Final = 0.05
_LAST_LINES: Final = 20


class ChildFailed(Exception):
    """A program ended, did not answer in time or was refused; the message holds the end of what it printed."""


class ChildProgram:
    """A program in a session of its own, so that Ctrl-C in the terminal reaches us alone, who end it in order."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        stop_s: float = _STOP_S,
    ) -> None:
        """Name a program.

        Args:
            command: the program and its arguments.
            log: file to which all that it prints is added.
            environment: its whole environment; none is ours.
            stop_s: how long it may take to end when asked to.
        """
        self.command = tuple(map(str, command))
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = environment
        self._stop_s = stop_s

    @property
    def pid(self) -> int:
        """The process at the root of what it started."""
        return self._started().pid

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with _deaf_to_interrupts():  # a second Ctrl-C would leave processes behind
            self.stop()

    def launch(self) -> None:
        """Start it."""
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - a program of our caller's choice
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )

    def check(self) -> None:
        """Raise `ChildFailed` when it has ended."""
        code = self._started().poll()
        if code is not None:
            raise ChildFailed(f"it ended with exit code {code}\n{self.last_words()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end with a signal, make it after a while; return its exit status."""
        process = self._started()
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def kill(self) -> None:
        """End it as the kernel does when memory is short; what it started is not told."""
        process = self._started()
        process.kill()
        process.wait()

    def last_words(self) -> str:
        """Show the end of what it printed, for messages."""
        return "\n".join([f"its output, {self.log}, ends with:", *self.output.splitlines()[-_LAST_LINES:]])

    def _started(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it is launched first"
        return self.process


class Ports(NamedTuple):
    """What a gateway listens on."""

    http: int
    grpc: int
    metrics: int
    admin: int


class ChildGateway(ChildProgram):
    """`shepherd up` on a state directory."""

    def __init__(
        self,
        state_dir: Path,
        *,
        ports: Ports | None = None,
        flags: Sequence[str] = (),
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stop_s: float = _STOP_S,
    ) -> None:
        """Name a gateway; without ports it listens where its settings say, and prints into its own logs."""
        self.state_dir = state_dir
        numbers = ports._asdict().items() if ports else ()
        chosen = [f"--{name}-port={number}" for name, number in numbers]
        super().__init__(
            [*_SHEPHERD, "up", "--state", state_dir, *chosen, *flags],
            log=log or state_dir / "logs" / "up.log",
            environment=environment,
            stop_s=stop_s,
        )

    def launch(self) -> None:
        """Start it; what an earlier run printed goes."""
        self.log.unlink(missing_ok=True)
        super().launch()

    @property
    def token(self) -> str:
        """Its first admin token."""
        return (self.state_dir / TOKEN_FILE).read_text().strip()

    @property
    def admin(self) -> AdminClient:
        """A client of its admin API, to be closed."""
        return AdminClient(find_node(self.state_dir).admin, self.token)

    def wait_for(self, path: str, timeout_s: float) -> Node:
        """Wait until it answers a path with success; return where it listens.

        Raises:
            ChildFailed: it ended, or gives no such answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check()
            try:
                node = find_node(self.state_dir)
                if httpx.get(node.http + path, trust_env=False).is_success:
                    return node
            except (GatewayUnreachable, httpx.HTTPError):
                pass  # not there yet
            time.sleep(_POLL_S)
        raise ChildFailed(f"no success from {path} after {timeout_s:.0f} s\n{self.last_words()}")

    def shepherd(self, *arguments: str | Path) -> str:
        """Run a command on it as its users do; return what that prints.

        Raises:
            ChildFailed: it was refused.
        """
        command = [*_SHEPHERD, *map(str, arguments), "--state", str(self.state_dir)]
        ended = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
        if ended.returncode != 0:
            raise ChildFailed(f"shepherd {' '.join(map(str, arguments))}: {ended.stderr.strip()}\n{self.last_words()}")
        return ended.stdout


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ignore SIGINT for a while, where this thread is the one that hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
