"""A real Triton on this machine's CPU, beside which the gateway is measured: `python -m loadtests.triton`.

The wheel of PyTriton brings the C++ server without an onnxruntime backend, so the model runs in Triton's Python
backend, in batches as Triton forms them. Its stub needs numpy < 2, hence an environment of its own, made when missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_ENVIRONMENT: Final = _ROOT / ".triton-venv"
_PACKAGES: Final = _ROOT / "requirements" / "triton.txt"

_MODEL: Final = """
import os
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        stacked = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        found = self.session.run([self.output], {self.input: stacked})[0]
        ends = np.cumsum([len(array) for array in arrays])[:-1]
        parts = np.split(found, ends) if len(arrays) > 1 else [found]
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self.output, part)]) for part in parts]
"""
_CONFIG: Final = """
name: "{name}"
backend: "python"
max_batch_size: 64
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: {input_dims} }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: {output_dims} }} ]
dynamic_batching {{ }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""


def main() -> None:
    """Prepare a repository with one model and become the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--http-port", required=True)
    parser.add_argument("--grpc-port", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="An empty folder for repository and backends.")
    arguments = parser.parse_args()
    packages = _environment()
    folder: Path = arguments.folder
    _put_model(folder / "repository" / arguments.name, arguments.model)
    tree = packages / "pytriton" / "tritonserver"
    shutil.copytree(tree / "backends", folder / "backends")
    stub = folder / "backends" / "python" / "triton_python_backend_stub"
    shutil.copy(tree / "python_backend_stubs" / "3.11" / stub.name, stub)
    stub.chmod(0o755)
    asked = [_ENVIRONMENT / "bin/python", "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    libraries = subprocess.run([str(word) for word in asked], capture_output=True, text=True, check=True).stdout.strip()
    server = tree / "bin" / "tritonserver"
    command = [
        str(server),
        f"--model-repository={folder / 'repository'}",
        f"--backend-directory={folder / 'backends'}",
        "--http-address=127.0.0.1",
        f"--http-port={arguments.http_port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={arguments.grpc_port}",
        "--allow-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        f"--backend-config=python,shm-region-prefix-name=bench_{uuid.uuid4().hex[:8]}",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=2",
    ]
    environment = {
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{libraries}",
        "PATH": f"{_ENVIRONMENT / 'bin'}:/usr/bin:/bin",
    }
    os.execve(server, command, environment)  # noqa: S606 - no shell wanted


def _environment() -> Path:
    """Find the environment's packages; make it first when it is missing."""
    if not (_ENVIRONMENT / "bin/python").exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", _ENVIRONMENT], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", _ENVIRONMENT / "bin/python", "-r", _PACKAGES]
        subprocess.run([str(word) for word in install], check=True)
    return next((_ENVIRONMENT / "lib").glob("python3.*")) / "site-packages"


def _put_model(folder: Path, onnx: Path) -> None:
    """Write the model's folder: configuration, program, file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    version = folder / "1"
    version.mkdir(parents=True)
    shutil.copy(onnx, version / "model.onnx")
    (version / "model.py").write_text(_MODEL)
    # Triton takes byte code that the stub would write for a change of the model.
    subprocess.run([_ENVIRONMENT / "bin/python", "-m", "compileall", "-q", version], check=True)
    config = _CONFIG.format(
        name=folder.name,
        input=given.name,
        input_dims=given.shape[1:],
        output=found.name,
        output_dims=found.shape[1:],
    )
    (folder / "config.pbtxt").write_text(config)


if __name__ == "__main__":
    main()
