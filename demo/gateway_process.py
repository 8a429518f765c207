"""`shepherd up` as a child process: started, waited for, and ended with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from router.cli.client import GatewayUnreachable
from router.cli.location import Node, find_node

#: The gateway drains and ends by itself well within this; after it, its process group is killed.
_STOP_S: Final = 12.0
_POLL_S: Final = 0.2


class GatewayFailed(Exception):
    """The gateway ended, or did not get ready; the message holds the end of its log."""


class GatewayProcess:
    """A gateway on a state directory, up for the length of a `with` block.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches the parent alone, which ends it in order.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._log = state_dir / "logs" / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "router.cli.main", "up", "--state", self._state_dir],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def wait_for(self, path: str, timeout_s: float) -> Node:
        """Wait until the gateway answers a path with success; return where it listens.

        Raises:
            GatewayFailed: it ended, or gives no such answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check()
            try:
                node = find_node(self._state_dir)
                if httpx.get(node.http + path, trust_env=False).is_success:
                    return node
            except (GatewayUnreachable, httpx.HTTPError):
                pass  # not there yet
            time.sleep(_POLL_S)
        raise GatewayFailed(f"no success from {path} after {timeout_s:.0f} s\n{self._log_tail()}")

    def check(self) -> None:
        """Raise `GatewayFailed` when the gateway has ended."""
        assert self._process is not None, "the gateway is up inside a `with` block only"
        code = self._process.poll()
        if code is not None:
            raise GatewayFailed(f"the gateway ended with exit code {code}\n{self._log_tail()}")

    def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join([f"its log, {self._log}, ends with:", *lines])
