"""Servers as child processes: a program on free ports, waited for by its first right answer, ended without remains."""

from __future__ import annotations

import http.client
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtests.processes import end, free_ports, process_tree
from router.cli.child_gateway import ChildFailed, ChildGateway, ChildProgram, Ports
from router.cli.client import AdminClient

#: Reasons to ask again while a server starts.
_NOT_YET: Final = (OSError, http.client.HTTPException)
_POLL_S: Final = 0.02


#: A server or command failed, or did not answer in time.
ServerFailed = ChildFailed


class Server(ChildProgram):
    """A program that runs for the length of a `with` block and answers HTTP at `port`."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        port: int,
        log: Path,
        program: Sequence[str | Path] = (sys.executable, "-m"),
        stop_s: float = 20.0,
    ) -> None:
        super().__init__([*program, *arguments], log=log, stop_s=stop_s)
        self.port = port
        self._started_at = 0.0

    def launch(self) -> None:
        """Start it, and the clock."""
        self._started_at = time.monotonic()
        super().launch()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; servers that are not ours may leave processes behind, which go too."""
        tree = process_tree(self.pid)
        status = super().stop(number)
        end(tree)
        return status

    def wait_for(self, path: str, body: bytes | None = None, *, timeout_s: float) -> float:
        """Ask until the answer is 200; return the seconds since the program was started.

        Raises:
            ServerFailed: it ended, or there is no such answer in time.
        """
        while time.monotonic() - self._started_at < timeout_s:
            try:
                if self.request(path, body)[0] == 200:
                    return time.monotonic() - self._started_at
            except _NOT_YET:
                pass
            self.check()
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


class Gateway(Server):
    """`shepherd up` on a state directory and free ports; settings are flags, as `no-log-enabled`."""

    def __init__(self, state: Path, *settings: str) -> None:
        ports = Ports(*free_ports(4))
        self._gateway = ChildGateway(state, ports=ports, flags=[f"--{setting}" for setting in settings])
        self.http_port, self.grpc_port, _, self._admin_port = ports
        super().__init__(self._gateway.command, program=(), port=self.http_port, log=self._gateway.log, stop_s=30.0)

    def shepherd(self, *arguments: str | Path) -> Any:
        """Run a `shepherd` command against this gateway; return its answer.

        Raises:
            ServerFailed: it was refused.
        """
        return msgspec.json.decode(self._gateway.shepherd(*arguments, "-o", "json"))

    def admin(self) -> AdminClient:
        """Open its admin API: a command of its own would cost a second of a core, which is measured too."""
        return AdminClient(f"http://127.0.0.1:{self._admin_port}", self._gateway.token)

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
