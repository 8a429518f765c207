"""A real Triton on this machine's CPU, beside which the gateway is measured: `python -m loadtests.triton`.

The model runs in batches as Triton forms them. The environment is made when it is missing (`triton_recipe`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import uuid
from pathlib import Path
from typing import Final

from loadtests.triton_recipe import ENVIRONMENT, prepare, put_model

_PACKAGES: Final = Path(__file__).parents[1] / "requirements" / "triton.txt"

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


def main() -> None:
    """Prepare a repository with one model and become the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="An empty folder for repository and backends.")
    arguments = parser.parse_args()
    _make_environment()
    folder: Path = arguments.folder
    put_model(folder / "repository", arguments.name, arguments.model.read_bytes(), _MODEL)
    launch = prepare(
        folder,
        folder / "repository",
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        memory_prefix=f"bench_{uuid.uuid4().hex[:8]}",
        options=["--allow-metrics=false"],
    )
    os.execve(launch.command[0], launch.command, launch.environment)  # noqa: S606 - no shell wanted


def _make_environment() -> None:
    if not (ENVIRONMENT / "bin/python").exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", ENVIRONMENT], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", ENVIRONMENT / "bin/python", "-r", _PACKAGES]
        subprocess.run([str(word) for word in install], check=True)


if __name__ == "__main__":
    main()
