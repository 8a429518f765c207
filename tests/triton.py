"""A real Triton on this machine's CPU, from the wheel of PyTriton in an environment of its own: `make triton-venv`.

The wheel has no onnxruntime backend: models are ONNX files that a Python backend opens with onnxruntime. Its stubs need
numpy < 2, hence the environment; and libraries that only it brings along, hence the variables.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.gateway import eventually
from tests.ports import free_ports

ROOT: Final = Path(__file__).parents[1]
VENV: Final = Path(os.environ.get("TRITON_VENV", ROOT / ".triton-venv"))  # noqa: TID251 - where a machine has it

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

_CONFIG: Final = """
name: "{name}"
backend: "python"
max_batch_size: 64
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {features} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {answers} ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
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

    def put(
        self, name: str, onnx: bytes, *, tensors: tuple[str, str] = ("x", "y"), sizes: tuple[int, int] = (4, 4)
    ) -> None:
        """Put a model with one FP32 input and one FP32 output into the repository.

        A value of 666 in the input kills its process, 13 makes it raise, 99 makes it take two seconds.
        """
        version = self.repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(onnx)
        (version / "model.py").write_text(_MODEL)
        config = _CONFIG.format(name=name, input=tensors[0], output=tensors[1], features=sizes[0], answers=sizes[1])
        (self.repository / name / "config.pbtxt").write_text(config)
        # Triton takes the byte code that the stub would write for a change of the model.
        subprocess.run([VENV / "bin/python", "-m", "compileall", "-q", version], check=True)

    def start(self) -> None:
        """Start, and wait until it is ready."""
        packages = VENV / "lib/python3.11/site-packages"
        tree = packages / "pytriton/tritonserver"
        backends = self._folder / "backends"
        if not backends.exists():
            shutil.copytree(tree / "backends", backends)
            stub = shutil.copy(tree / "python_backend_stubs/3.11/triton_python_backend_stub", backends / "python")
            Path(stub).chmod(0o755)
        libraries = f"{packages / 'nvidia_pytriton.libs'}:{_library_folder()}"
        names = [each.name for each in self.repository.iterdir()]
        control = ["--model-control-mode=explicit"] if self._explicit else [f"--load-model={name}" for name in names]
        with (self._folder / "triton.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    tree / "bin/tritonserver",
                    f"--model-repository={self.repository}",
                    f"--backend-directory={backends}",
                    *control,
                    *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
                    f"--http-port={self.http_port}",
                    f"--grpc-port={self.grpc_port}",
                    f"--metrics-port={self._metrics_port}",
                    "--http-thread-count=2",
                    "--allow-gpu-metrics=false",
                    "--pinned-memory-pool-byte-size=0",
                    f"--backend-config=python,shm-region-prefix-name={self._prefix}",
                    "--disable-auto-complete-config",
                    "--exit-timeout-secs=2",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={"LD_LIBRARY_PATH": libraries, "PATH": f"{VENV / 'bin'}:/usr/bin:/bin"},
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
    assert VENV.exists(), f"no {VENV}: run `make triton-venv`, or leave these tests out with -m 'not triton'"
    triton = Triton(folder)
    triton.start()
    try:
        yield triton
    finally:
        triton.kill()


def _library_folder() -> str:
    """Find the libpython that belongs to the environment's interpreter."""
    asked = [str(VENV / "bin/python"), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found or str(sysconfig.get_config_var("LIBDIR"))
