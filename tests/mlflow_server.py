"""A real MLflow tracking server over HTTP, from an environment of its own: `make mlflow-venv`."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.gateway import eventually
from tests.ports import free_ports

ROOT: Final = Path(__file__).parents[1]
VENV: Final = Path(os.environ.get("MLFLOW_VENV", ROOT / ".mlflow-venv"))  # noqa: TID251 - where a machine has it


class MlflowServer:
    """One server with its database and artifacts in a folder, which outlive it."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self.port}"
        self.artifacts = folder / "artifacts"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # Webhooks go to this very machine here, which a server in production refuses for good reasons.
        self._environment = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # a webhook made now is called now, not in a minute
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "PATH": f"{VENV / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
        }

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    VENV / "bin" / "mlflow",
                    "server",
                    "--host=127.0.0.1",
                    f"--port={self.port}",
                    f"--backend-store-uri=sqlite:///{self._folder / 'mlflow.db'}",
                    f"--artifacts-destination={self.artifacts}",
                    "--workers=1",
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "mlflow.log").read_text()[-2000:]
            try:
                return httpx.get(f"{self.uri}/health").is_success
            except httpx.HTTPError:
                return False

        eventually(answers, timeout_s=60, what="MLflow to answer")

    def kill(self) -> None:
        """End it and its workers at once."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running_mlflow(folder: Path) -> Iterator[MlflowServer]:
    """Lend a server without models."""
    assert VENV.exists(), f"no {VENV}: run `make mlflow-venv`, or leave these tests out with -m 'not mlflow'"
    server = MlflowServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
