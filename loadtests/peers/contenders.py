"""How each contender is started: the same model at the same path, one worker each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from loadtests.bench.__main__ import prepare
from loadtests.bench.contest import MODEL, PATH, Material
from loadtests.peers.environments import environment
from loadtests.processes import free_ports
from loadtests.server import Gateway, Server

Start = Callable[[Material, Path], Server]
"""Takes the material and an empty folder; returns the server, not yet started."""

Arguments = list[str | Path]

_APPS: Final = "loadtests.peers.apps"


def bare(material: Material, folder: Path) -> Server:
    """The yardstick: uvicorn and onnxruntime in one process, nothing else."""
    (port,) = free_ports(1)
    arguments: Arguments = ["loadtests.bench.bare_app", "--model", material.model, "--name", MODEL, "--port", str(port)]
    return Server(arguments, port=port, log=folder / "log")


def gateway(material: Material, folder: Path) -> Server:
    """Model Shepherd with policy, log, metrics and monitor on."""
    prepare(folder / "state", material)
    return Gateway(folder / "state")


def triton(material: Material, folder: Path) -> Server:
    """Triton's C++ HTTP front, onnxruntime in its Python backend, dynamic batching on."""
    port, grpc_port = free_ports(2)
    (folder / "triton").mkdir()
    arguments: Arguments = [
        "loadtests.triton",
        "--model",
        material.model,
        "--name",
        MODEL,
        "--folder",
        folder / "triton",
    ]
    arguments += ["--http-port", str(port), "--grpc-port", str(grpc_port)]
    return Server(arguments, port=port, log=folder / "log")


def mlserver(material: Material, folder: Path) -> Server:
    """MLServer with the model in its own process, its faster way for a small one."""
    programs = environment("mlserver")
    port, grpc_port, metrics_port = free_ports(3)
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": grpc_port, "metrics_port": metrics_port}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    model = {"implementation": f"{_APPS}.mlserver_model.Model", "parameters": {"uri": str(material.model)}}
    (folder / "model-settings.json").write_text(json.dumps({"name": MODEL, **model}))
    return Server([folder], port=port, log=folder / "log", program=[programs / "mlserver", "start"])


def litserve(material: Material, folder: Path) -> Server:
    """LitServe with batching: one API server, one worker."""
    programs = environment("litserve")
    (port,) = free_ports(1)
    arguments: Arguments = [f"{_APPS}.litserve_app", "--model", material.model, "--path", PATH, "--port", str(port)]
    return Server(arguments, port=port, log=folder / "log", program=[programs / "python", "-m"])


def bentoml(material: Material, folder: Path) -> Server:
    """BentoML with one worker."""
    programs = environment("bentoml")
    (port,) = free_ports(1)
    home = ["env", f"BENCH_MODEL={material.model}", f"BENTOML_HOME={folder}", "BENTOML_DO_NOT_TRACK=True"]
    arguments: Arguments = [f"{_APPS}.bentoml_app:Bench", "--host", "127.0.0.1", "--port", str(port)]
    program: Arguments = [*home, programs / "python", "-m", "bentoml", "serve"]
    return Server(arguments, port=port, log=folder / "log", program=program)


def ray_serve(material: Material, folder: Path) -> Server:
    """Ray Serve as its documentation shows it: proxy, FastAPI ingress, handle, batching deployment."""
    (port,) = free_ports(1)
    arguments: Arguments = [f"{_APPS}.ray_serve_app", "--model", material.model, "--port", str(port)]
    return Server(arguments, port=port, log=folder / "log", program=[sys.executable, "-m"])


CONTENDERS: Final[Mapping[str, Start]] = {
    "bare app": bare,
    "Ray Serve": ray_serve,
    "BentoML": bentoml,
    "LitServe": litserve,
    "MLServer": mlserver,
    "Triton": triton,
    "Model Shepherd": gateway,
}
