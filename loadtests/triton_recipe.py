"""How a real Triton is started on this machine's CPU, from the wheel of PyTriton in an environment of its own.

The wheel brings the C++ server without an onnxruntime backend, so models are ONNX files that a program opens in
Triton's Python backend. Its stub needs numpy < 2, hence the environment (`make triton-venv`); and libraries that only
the wheel brings along, hence the variables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_BESIDE: Final = Path(__file__).parents[1] / ".triton-venv"
ENVIRONMENT: Final = Path(os.environ.get("TRITON_VENV", _BESIDE))  # noqa: TID251 - where a machine has it

_CONFIG: Final = """
name: "{name}"
backend: "python"
max_batch_size: 64
input [ {{ name: "{given.name}" data_type: TYPE_FP32 dims: {given_dims} }} ]
output [ {{ name: "{found.name}" data_type: TYPE_FP32 dims: {found_dims} }} ]
dynamic_batching {{ }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""


class Launch(NamedTuple):
    """What to run."""

    command: list[str]
    environment: dict[str, str]


def put_model(repository: Path, name: str, onnx: bytes, program: str) -> None:
    """Write a model's folder: configuration, program, and an ONNX file with one FP32 input and one FP32 output.

    Args:
        repository: Triton's.
        name: of the model.
        onnx: the file; its first axis is the batch's.
        program: a module with a class `TritonPythonModel`, which finds the file as `model.onnx` beside it.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(onnx)
    (version / "model.py").write_text(program)
    dims = {"given_dims": given.shape[1:], "found_dims": found.shape[1:]}
    (repository / name / "config.pbtxt").write_text(_CONFIG.format(name=name, given=given, found=found, **dims))
    # Triton takes byte code that the stub would write for a change of the model.
    subprocess.run([ENVIRONMENT / "bin/python", "-m", "compileall", "-q", version], check=True)


def prepare(
    folder: Path, repository: Path, *, http_port: int, grpc_port: int, memory_prefix: str, options: Sequence[str] = ()
) -> Launch:
    """Say how to start a server on the loopback.

    Args:
        folder: takes its backends.
        repository: its models.
        http_port: where it listens.
        grpc_port: the same for gRPC.
        memory_prefix: of the shared memory between server and stubs, which a server that is killed leaves behind.
        options: more of them.
    """
    packages = next((ENVIRONMENT / "lib").glob("python3.*")) / "site-packages"
    tree, backends = packages / "pytriton" / "tritonserver", folder / "backends"
    if not backends.exists():
        shutil.copytree(tree / "backends", backends)
        stub = backends / "python" / "triton_python_backend_stub"
        shutil.copy(tree / "python_backend_stubs" / "3.11" / stub.name, stub)
        stub.chmod(0o755)
    server = tree / "bin" / "tritonserver"
    command = [
        str(server),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--http-address=127.0.0.1",
        f"--http-port={http_port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        f"--backend-config=python,shm-region-prefix-name={memory_prefix}",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=2",
        *options,
    ]
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{_library_folder()}"
    return Launch(command, {"LD_LIBRARY_PATH": libraries, "PATH": f"{ENVIRONMENT / 'bin'}:/usr/bin:/bin"})


def _library_folder() -> str:
    """Find the libpython that belongs to the environment's interpreter."""
    asked = [str(ENVIRONMENT / "bin/python"), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found or str(sysconfig.get_config_var("LIBDIR"))
