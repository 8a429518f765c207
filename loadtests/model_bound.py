"""Work that the model bounds, not the gateway: throughput through a gateway beside onnxruntime called in a loop.

    python -m loadtests.model_bound                          SqueezeNet on the CPU, one thread each
    python -m loadtests.model_bound --provider cuda          the same on a GPU; without one it says so and ends well
    python -m loadtests.model_bound --step direct            only the loop, which needs no gateway, no Ray, no network

The graph is one of the light models that the `onnx` package brings along: full computation, weights without meaning.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from rich.console import Console

from loadtests.result_page import describe_load, page, publish, table
from loadtests.server import Gateway, ServerFailed

_LIGHT: Final = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_START_S: Final = 120.0
#: A request waits while another one runs, so that the model never does.
_CONNECTIONS: Final = 3
_WARM_UP_S: Final = 1.0
_GOAL: Final = 0.95
_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
Floats = npt.NDArray[np.float32]
Rounds = Sequence[tuple[float, float]]
"""Runs per second in a loop, and answers per second through a gateway, round by round."""


def missing_provider(provider: str) -> str | None:
    """Say why a provider cannot be used on this machine; None when it can."""
    if _PROVIDERS[provider] in onnxruntime.get_available_providers():
        return None
    return f"this onnxruntime ({onnxruntime.__version__}) has no {_PROVIDERS[provider]}: skipped"


def open_direct(path: Path, image: Floats, provider: str) -> Callable[[], object]:
    """Open the model in this process, on one thread; return what runs it once."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    if provider == "cuda":
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(str(path), settings, providers=[_PROVIDERS[provider]])
    taken = session.get_providers()[0]
    if taken != _PROVIDERS[provider]:  # onnxruntime falls back without an error
        raise ServerFailed(f"{_PROVIDERS[provider]} is in this onnxruntime, but cannot be used here: it took {taken}")
    name = session.get_inputs()[0].name
    session.run(None, {name: image})
    return lambda: session.run(None, {name: image})


@contextmanager
def serving(path: Path, image: Floats, provider: str, folder: Path) -> Iterator[Callable[[float], float]]:
    """Serve the model in one replica with one thread; give what measures answers per second for so many seconds."""
    name = onnxruntime.InferenceSession(str(path)).get_inputs()[0].name
    with Gateway(folder / "state", "no-log-enabled") as gateway:
        gateway.wait_for("/v2/health/live", timeout_s=_START_S)
        gateway.wait_until_operable(timeout_s=_START_S)
        tag = f"shepherd.provider={provider}"
        gateway.shepherd("model", "register", path, "--name", "bound", "--tag", tag, "--tag", "shepherd.threads=1")
        gateway.shepherd("traffic", "set", "bound", "stable=1:100%", "--reason", "measure")
        body, headers = _request(name, image)
        gateway.wait_for("/v2/models/bound/ready", timeout_s=_START_S)
        _rate_of_clients(gateway.port, body, headers, _WARM_UP_S)
        yield lambda seconds: _rate_of_clients(gateway.port, body, headers, seconds)


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


def _rate(run: Callable[[], object], seconds: float) -> float:
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        run()
        count += 1
    return count / (time.monotonic() - started)


def compare(direct: Callable[[float], float], gateway: Callable[[float], float], rounds: int, seconds: float) -> Rounds:
    """Measure both in turn, each round in the other order: the machine's moods meet both alike."""
    found = []
    for number in range(rounds):
        if number % 2:
            there, here = gateway(seconds), direct(seconds)
        else:
            here, there = direct(seconds), gateway(seconds)
        found.append((here, there))
        click.echo(
            f"round {number + 1}: in a loop {here:8.1f} runs/s, through the gateway {there:8.1f}, {there / here:.2f}"
        )
    return found


def render(found: Rounds, model: str, provider: str, load: str) -> str:
    """Write the page."""
    ratio = statistics.median(there / here for here, there in found)
    verdict = (
        f"**{'met' if ratio >= _GOAL else 'missed'}**: {ratio:.2f} times the throughput of onnxruntime in a loop "
        f"(goal {_GOAL:g}), median of {len(found)} rounds in turn."
    )
    method = (
        f"{model} of the `onnx` package ({provider}), one image of 600 KB a request (binary extension), {_CONNECTIONS} "
        "connections, one replica with one thread, log off. The loop has a core for itself; so has the replica's "
        "thread, while the clients, the router and whoever reads the requests share the other."
    )
    rows = [
        [str(number), f"{here:.1f}", f"{there:.1f}", f"{there / here:.2f}"]
        for number, (here, there) in enumerate(found, 1)
    ]
    figures = table(["round", "in a loop, runs/s", "through the gateway", "ratio"], rows)
    return page("Work that the model bounds", verdict, method, figures, load=load)


@click.command()
@click.option("--model", default="squeezenet", show_default=True, help="A light model of the onnx package.")
@click.option("--provider", type=click.Choice(sorted(_PROVIDERS)), default="cpu", show_default=True)
@click.option("--step", type=click.Choice(["direct", "all"]), default="all", show_default=True)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--seconds", default=3.0, show_default=True, help="How long each is measured in a round.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(model: str, provider: str, step: str, rounds: int, seconds: float, keep: bool) -> None:  # noqa: FBT001, PLR0917 - click's way
    """Measure, print, compare."""
    if reason := missing_provider(provider):
        click.echo(reason)
        return
    load = describe_load()
    path = _LIGHT / f"light_{model}.onnx"
    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    try:
        run = open_direct(path, image, provider)
        if step == "direct":
            click.echo(f"onnxruntime in a loop  {_rate(run, seconds):8.1f} runs/s ({provider}, one thread)")
            return
        with tempfile.TemporaryDirectory() as folder, serving(path, image, provider, Path(folder)) as gateway:
            found = compare(lambda length: _rate(run, length), gateway, rounds, seconds)
    except ServerFailed as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    publish(Console(), render(found, model, provider, load), f"model-bound-{provider}", is_kept=keep)


if __name__ == "__main__":
    main()
