"""Work that the model bounds, not the gateway: throughput through a gateway beside onnxruntime called in a loop.

    python -m loadtests.model_bound                          SqueezeNet on the CPU, one thread each
    python -m loadtests.model_bound --provider cuda          the same on a GPU; without one it says so and ends well
    python -m loadtests.model_bound --step direct            only the loop, which needs no gateway, no Ray, no network

The graph is one of the light models that the `onnx` package brings along: full computation, weights without meaning.
"""

from __future__ import annotations

import http.client
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from loadtests.server import Gateway, ServerFailed

_LIGHT: Final = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_START_S: Final = 120.0
#: A request waits while another one runs, so that the model never does.
_CONNECTIONS: Final = 3
_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
Floats = npt.NDArray[np.float32]


def missing_provider(provider: str) -> str | None:
    """Say why a provider cannot be used on this machine; None when it can."""
    if _PROVIDERS[provider] in onnxruntime.get_available_providers():
        return None
    return f"this onnxruntime ({onnxruntime.__version__}) has no {_PROVIDERS[provider]}: skipped"


def run_direct(path: Path, image: Floats, provider: str, seconds: float) -> float:
    """Return runs per second of onnxruntime in a loop on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    if provider == "cuda":
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(str(path), settings, providers=[_PROVIDERS[provider]])
    name = session.get_inputs()[0].name
    session.run(None, {name: image})
    return _rate(lambda: session.run(None, {name: image}), seconds)


def run_gateway(path: Path, image: Floats, provider: str, seconds: float, folder: Path) -> float:
    """Return answers per second of a gateway that serves the model in one replica with one thread."""
    name = onnxruntime.InferenceSession(str(path)).get_inputs()[0].name
    with Gateway(folder / "state", "no-log-enabled") as gateway:
        gateway.wait_for("/v2/health/live", timeout_s=_START_S)
        gateway.wait_until_operable(timeout_s=_START_S)
        tag = f"shepherd.provider={provider}"
        gateway.shepherd("model", "register", path, "--name", "bound", "--tag", tag)
        gateway.shepherd("traffic", "set", "bound", "stable=1:100%", "--reason", "measure")
        body, headers = _request(name, image)
        gateway.wait_for("/v2/models/bound/ready", timeout_s=_START_S)
        return _rate_of_clients(gateway.port, body, headers, seconds)


def _request(name: str, image: Floats) -> tuple[bytes, dict[str, str]]:
    """Build a request of the binary extension: no client would send an image as JSON numbers."""
    described = {
        "name": name,
        "shape": image.shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": image.nbytes},
    }
    head = msgspec.json.encode({"inputs": [described], "parameters": {"binary_data_output": True}})
    return head + image.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def _rate_of_clients(port: int, body: bytes, headers: dict[str, str], seconds: float) -> float:
    counts = [0] * _CONNECTIONS
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < end:
            connection.request("POST", "/v2/models/bound/infer", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise ServerFailed(f"the gateway answered {answer.status}")
            counts[number] += 1
        connection.close()

    started = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)


def _rate(run: object, seconds: float) -> float:
    assert callable(run)
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        run()
        count += 1
    return count / (time.monotonic() - started)


@click.command()
@click.option("--model", default="squeezenet", show_default=True, help="A light model of the onnx package.")
@click.option("--provider", type=click.Choice(sorted(_PROVIDERS)), default="cpu", show_default=True)
@click.option("--step", type=click.Choice(["direct", "gateway", "all"]), default="all", show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="How long each is measured.")
def main(model: str, provider: str, step: str, seconds: float) -> None:
    """Measure, print, compare."""
    if reason := missing_provider(provider):
        click.echo(reason)
        return
    path = _LIGHT / f"light_{model}.onnx"
    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    rates: dict[str, float] = {}
    try:
        if step in ("direct", "all"):
            rates["direct"] = run_direct(path, image, provider, seconds)
            click.echo(f"onnxruntime in a loop  {rates['direct']:8.1f} runs/s ({provider}, one thread)")
        if step in ("gateway", "all"):
            with tempfile.TemporaryDirectory() as folder:
                rates["gateway"] = run_gateway(path, image, provider, seconds, Path(folder))
            click.echo(f"through the gateway    {rates['gateway']:8.1f} answers/s")
    except ServerFailed as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    if len(rates) == 2:
        click.echo(f"ratio                  {rates['gateway'] / rates['direct']:8.2f}")


if __name__ == "__main__":
    main()
