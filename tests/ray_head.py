"""A Ray cluster that is somebody else's: `ray start --head` on ports of its own, with a token, and its applications."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from router.cli.child_gateway import ChildProgram
from tests.ports import free_ports
from tests.valkey import short_folder

_SCRIPT: Final = """
import sys
import ray
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Foreign:
    pass

ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False, configure_logging=False)
serve.start(proxy_location="Disabled")
if sys.argv[2] == "deploy":
    serve.run(Foreign.bind(), name="foreign", route_prefix=None)
import json
print(json.dumps({name: app.status.value for name, app in serve.status().applications.items()}))
"""


class RayHead(NamedTuple):
    """A running cluster."""

    address: str
    environment: dict[str, str]
    """What whoever joins it needs in theirs."""
    program: ChildProgram

    def deploy_foreign(self) -> None:
        """Have somebody else's application run on it."""
        assert self._ask("deploy") == {"foreign": "RUNNING"}

    def applications(self) -> dict[str, str]:
        """List the applications of Ray Serve with their states."""
        return self._ask("look")

    def _ask(self, what: str) -> dict[str, str]:
        command = [sys.executable, "-c", _SCRIPT, self.address, what]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, str])


@contextmanager
def running_head(folder: Path) -> Iterator[RayHead]:
    """Run a cluster of one machine; nothing of it is left afterwards."""
    token = folder / "ray.token"
    token.write_text("5" * 64)
    environment = os.environ | {  # noqa: TID251 - what a user's has
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 will do
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(folder),
    }
    names = ("port", "node-manager-port", "object-manager-port", "ray-client-server-port", "metrics-export-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    flags = [f"--{name}={port}" for name, port in ports.items()]
    with short_folder() as temporary:
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
            *("--num-cpus=2", "--include-dashboard=false", "--object-store-memory=100000000", "--disable-usage-stats"),
            *(f"--temp-dir={temporary}", *flags),
        ]
        # It says goodbye for as long as one lets it, and has nothing to lose.
        with ChildProgram(command, log=folder / "ray-head.log", environment=environment, stop_s=1.0) as program:
            yield RayHead(f"127.0.0.1:{ports['port']}", environment, program)
