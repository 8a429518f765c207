"""A whole gateway as its users run it: `shepherd up` as a process, its command line's client, plain HTTP."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from router.cli.child_gateway import ChildGateway, Ports
from router.cli.client import AdminClient
from tests.ports import free_ports

T = TypeVar("T")

READY_S: Final = 90.0
STOPPED_S: Final = 60.0
_MARK: Final = "TESTED_GATEWAY"


class RunningGateway(ChildGateway):
    """One `shepherd up` on a state directory, on ports of its own."""

    def __init__(
        self,
        state_dir: Path,
        *,
        home: Path,
        ports: list[int] | None = None,
        flags: tuple[str, ...] = (),
        environment: Mapping[str, str] = os.environ,  # noqa: TID251 - what a user's has
    ) -> None:
        self.home = home
        self.ports = Ports(*(ports or free_ports(4)))
        self.http_port, self.grpc_port, self.metrics_port, self.admin_port = self.ports
        self.url = f"http://127.0.0.1:{self.http_port}"
        self._mark = uuid.uuid4().hex
        super().__init__(
            state_dir,
            ports=self.ports,
            flags=flags,
            log=state_dir.with_suffix(".output"),
            environment={**environment, "HOME": str(home), _MARK: self._mark},
        )

    @property
    def admin(self) -> AdminClient:
        """Also where the gateway has not said yet that it is ready."""
        return AdminClient(f"http://127.0.0.1:{self.admin_port}", self.token)

    def wait_until_ready(self) -> None:
        """Wait until it says that it is ready and answers."""
        self.wait_for("/v2/health/ready", READY_S)

    def processes(self) -> dict[int, str]:
        """List every living process that descends from it: pid and title."""
        return dict(_descendants(f"{_MARK}={self._mark}".encode(), self.state_dir))

    def infer(self, model: str, inputs: list[dict[str, Any]], **request: Any) -> httpx.Response:
        """Send one V2 request as JSON."""
        version = request.pop("version", None)
        path = f"/v2/models/{model}/versions/{version}/infer" if version else f"/v2/models/{model}/infer"
        return httpx.post(self.url + path, json={"inputs": inputs, **request.pop("body", {})}, timeout=30.0, **request)

    def route(self, model: str, *variants: tuple[str, int, int], **more: Any) -> dict[str, Any]:
        """Give a model a policy of `(variant, version, basis points)`, whatever it had before."""
        names = ("name", "version", "weight")
        document = {"model": model, "variants": [dict(zip(names, each, strict=True)) for each in variants], **more}
        with self.admin as admin:
            there = admin.policy(model)
            if there is not None:
                return admin.put_policy(model, document, "a test", there.etag)
            created = admin.create_policy(model, document, "a test")
        eventually(lambda: httpx.get(f"{self.url}/v2/models/{model}").is_success, what=f"the routers to know {model}")
        return created

    def version(self, model: str, version: int) -> dict[str, Any]:
        """Read where a version stands."""
        with self.admin as admin:
            found: dict[str, Any] = next(each for each in admin.model(model)["versions"] if each["version"] == version)
            return found


@contextmanager
def running_gateway(
    state_dir: Path,
    *,
    home: Path,
    flags: tuple[str, ...] = (),
    environment: Mapping[str, str] = os.environ,  # noqa: TID251 - what a user's has
) -> Iterator[RunningGateway]:
    """Run a gateway; nothing of it is left afterwards, whatever happened."""
    gateway = RunningGateway(state_dir, home=home, flags=flags, environment=environment)
    gateway.launch()
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        try:
            gateway.stop()
        finally:
            for pid in gateway.processes():
                os.kill(pid, signal.SIGKILL)


def eventually(look: Callable[[], T], *, timeout_s: float = 30.0, what: str = "") -> T:
    """Return what `look` gives as soon as it is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what or look}"
        time.sleep(0.05)


def _descendants(mark: bytes, state_dir: Path) -> Iterator[tuple[int, str]]:
    """Find processes whose environment holds `mark`, or that work inside `state_dir`, as Valkey does, which overwrites
    its environment. Zombies have neither.
    """
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                is_marked = mark in (folder / "environ").read_bytes().split(b"\0")
                if is_marked or (folder / "cwd").readlink().is_relative_to(state_dir):
                    yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100]
            except OSError:
                continue
