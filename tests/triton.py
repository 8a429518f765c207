"""A real Triton for tests, started as `loadtests.triton_recipe` says: `make triton-venv` makes what it needs."""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from loadtests.triton_recipe import ENVIRONMENT, prepare, put_model
from tests.gateway import eventually
from tests.ports import free_ports

_MODEL: Final = """
import os
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, self.input).as_numpy()
        if (x == 666).any():
            os._exit(1)
        if (x == 13).any():
            return pb_utils.InferenceResponse([], pb_utils.TritonError("thirteen"))
        if (x == 99).any():
            import time
            time.sleep(2)
        y = self.session.run([self.output], {self.input: x})[0]
        return pb_utils.InferenceResponse([pb_utils.Tensor(self.output, y)])
"""

#: In place of the backend that the wheel lacks: any ONNX model, as the configuration describes it.
_ONNX_BACKEND: Final = """
import json
import os
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value["name"] for value in json.loads(args["model_config"])["output"]]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        answers = self.session.run(self.outputs, feed)
        return pb_utils.InferenceResponse([pb_utils.Tensor(*each) for each in zip(self.outputs, answers)])
"""


class Triton:
    """One server on ports of its own."""

    def __init__(self, folder: Path, *, explicit: bool = True) -> None:
        self.repository = folder / "repository"
        self.repository.mkdir()
        self._folder = folder
        self._explicit = explicit
        self._prefix = f"shepherd_{uuid.uuid4().hex[:12]}"
        self.http_port, self.grpc_port, self._metrics_port = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def grpc_url(self) -> str:
        return f"grpc://127.0.0.1:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def put(self, name: str, onnx: bytes) -> None:
        """Put a model with one FP32 input and one FP32 output into the repository.

        A value of 666 in the input kills its process, 13 makes it raise, 99 makes it take two seconds.
        """
        put_model(self.repository, name, onnx, _MODEL)

    def start(self) -> None:
        """Start, and wait until it is ready."""
        names = [each.name for each in self.repository.iterdir()]
        control = ["--model-control-mode=explicit"] if self._explicit else [f"--load-model={name}" for name in names]
        metrics = ["--metrics-address=127.0.0.1", f"--metrics-port={self._metrics_port}"]
        launch = prepare(
            self._folder,
            self.repository,
            http_port=self.http_port,
            grpc_port=self.grpc_port,
            memory_prefix=self._prefix,
            options=[*control, *metrics, "--http-thread-count=2"],
        )
        backend = self._folder / "backends" / "onnxruntime"
        backend.mkdir(exist_ok=True)
        (backend / "model.py").write_text(_ONNX_BACKEND)
        with (self._folder / "triton.log").open("ab") as log:
            self.process = subprocess.Popen(
                launch.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=launch.environment
            )

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self._folder / "triton.log").read_text()[-2000:]
            try:
                return httpx.get(f"{self.http_url}/v2/health/ready").is_success
            except httpx.HTTPError:
                return False

        eventually(ready, timeout_s=30, what="Triton to be ready")

    def kill(self) -> None:
        """End it at once; its stubs follow."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for left in Path("/dev/shm").glob(f"{self._prefix}*"):
            left.unlink(missing_ok=True)


@contextmanager
def running_triton(folder: Path) -> Iterator[Triton]:
    """Lend a server that loads what it is told to; the models are the caller's to `put`."""
    advice = "run `make triton-venv`, or leave these tests out with -m 'not triton'"
    assert ENVIRONMENT.exists(), f"no {ENVIRONMENT}: {advice}"
    triton = Triton(folder)
    triton.start()
    try:
        yield triton
    finally:
        triton.kill()
