"""Servers as child processes: a program on free ports, waited for by its first right answer, ended without remains."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from loadtests.processes import free_ports, stop
from router.cli.client import AdminClient

#: Reasons to ask again while a server starts.
_NOT_YET: Final = (OSError, http.client.HTTPException)
_POLL_S: Final = 0.02


class ServerFailed(Exception):
    """A server or command failed, or did not answer in time; the message holds the end of what it printed."""


class Server:
    """A program that runs for the length of a `with` block and answers HTTP at `port`."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        port: int,
        log: Path,
        stop_s: float = 20.0,
        program: Sequence[str | Path] = (sys.executable, "-m"),
    ) -> None:
        self.port = port
        self._arguments = [*program, *arguments]
        self._log = log
        self._stop_s = stop_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @property
    def pid(self) -> int:
        """The process at the root of what it started."""
        assert self._process is not None, "a server runs inside its `with` block"
        return self._process.pid

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        with self._log.open("ab") as log:
            # A session of its own keeps Ctrl-C from it: we end it in order, once.
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            stop(self._process, timeout_s=self._stop_s)

    def wait_for(self, path: str, body: bytes | None = None, *, timeout_s: float) -> float:
        """Ask until the answer is 200; return the seconds since the program was started.

        Raises:
            ServerFailed: it ended, or there is no such answer in time.
        """
        assert self._process is not None, "a server runs inside its `with` block"
        while time.monotonic() - self._started < timeout_s:
            try:
                if self.request(path, body)[0] == 200:
                    return time.monotonic() - self._started
            except _NOT_YET:
                pass
            if self._process.poll() is not None:
                raise ServerFailed(f"ended with {self._process.returncode}: {self.last_words()}")
            time.sleep(_POLL_S)
        raise ServerFailed(f"no answer at {path} after {timeout_s:g} s: {self.last_words()}")

    def request(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send one GET, or with a body one POST; return status and content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"content-type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def last_words(self) -> str:
        """Return the end of what the program printed."""
        return "\n".join(["", *self._log.read_text(errors="replace").splitlines()[-20:]])


class Gateway(Server):
    """`shepherd up` on a state directory and free ports; settings are flags, as `no-log-enabled`."""

    def __init__(self, state: Path, *settings: str) -> None:
        self._state = state
        self.http_port, self.grpc_port, metrics_port, self._admin_port = free_ports(4)
        state.mkdir(parents=True, exist_ok=True)
        ports = [f"--http-port={self.http_port}", f"--grpc-port={self.grpc_port}"]
        ports += [f"--metrics-port={metrics_port}", f"--admin-port={self._admin_port}"]
        flags = [f"--{setting}" for setting in settings]
        command: list[str | Path] = ["router.cli.main", "up", "--state", state, *ports, *flags]
        super().__init__(command, port=self.http_port, log=state / "up.log", stop_s=30.0)

    def shepherd(self, *arguments: str | Path) -> Any:
        """Run a `shepherd` command against this gateway; return its answer.

        Raises:
            ServerFailed: it was refused.
        """
        command = [sys.executable, "-m", "router.cli.main", *arguments, "--state", self._state, "-o", "json"]
        ended = subprocess.run(command, capture_output=True, timeout=180, check=False)
        if ended.returncode != 0:
            said = ended.stderr.decode(errors="replace").strip()
            raise ServerFailed(f"shepherd {' '.join(map(str, arguments))}: {said}{self.last_words()}")
        return msgspec.json.decode(ended.stdout)

    def admin(self) -> AdminClient:
        """Open its admin API: a command of its own would cost a second of a core, which is measured too."""
        token = (self._state / "admin.token").read_text().strip()
        return AdminClient(f"http://127.0.0.1:{self._admin_port}", token)

    def route(self, model: str, *variants: tuple[str, int, int], **more: Any) -> None:
        """Give a model the policy of these `(variant, version, basis points)`; return when it stands."""
        names = ("name", "version", "weight")
        document = {"model": model, "variants": [dict(zip(names, each, strict=True)) for each in variants], **more}
        with self.admin() as admin:
            there = admin.policy(model)
            if there is None:
                admin.create_policy(model, document, "measurement")
            else:
                admin.put_policy(model, document, "measurement", there.etag)

    def replicas(self, model: str, version: int) -> list[int]:
        """List the processes that serve a version now."""
        with self.admin() as admin:
            versions = admin.model(model)["versions"]
        return [replica["pid"] for each in versions if each["version"] == version for replica in each["replicas"]]

    def wait_until_operable(self, *, timeout_s: float) -> None:
        """Wait until `shepherd` commands find this gateway: its admin API opens after its data plane.

        Raises:
            ServerFailed: they do not in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.shepherd("status")
            except ServerFailed:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def register(self, name: str, onnx: Path, example: Path) -> int:
        """Add a version with its golden example; return its number."""
        return int(self.shepherd("model", "register", onnx, "--name", name, "--example", example)["version"])
