"""The command line starts fast: what is heavy is loaded by the command that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"ray", "mlflow", "fastapi", "starlette", "onnxruntime", "grpc", "redis", "sqlalchemy", "numpy", "uvicorn"}
LIST_MODULES = (
    "import sys; sys.argv = ['shepherd', *sys.argv[1:]]\n"
    "from router.cli.main import cli\n"
    "try: cli(standalone_mode=False)\n"
    "finally: print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
)


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["traffic", "set", "--help"], ["config"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """A prompt that waits for Ray to import is no prompt."""
    command = [sys.executable, "-c", LIST_MODULES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert loaded & HEAVY == set()
