"""The model on Ray Serve as its documentation shows it: a FastAPI ingress, a handle, a batching deployment."""

import argparse
import signal
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from fastapi import FastAPI
from ray import serve

from loadtests.peers.apps.classify import Classifier, rows_of

Rows = npt.NDArray[np.float32]
app = FastAPI()


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
class Model:
    """The batching replica."""

    def __init__(self, path: str) -> None:
        self._classifier = Classifier(path)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0)
    async def infer(self, requests: list[Rows]) -> list[dict[str, Any]]:
        """Run what has come together."""
        found = self._classifier.run(np.concatenate(requests))
        ends = np.cumsum([len(rows) for rows in requests])[:-1]
        return [self._classifier.answer(part) for part in np.split(found, ends)]


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
@serve.ingress(app)
class Ingress:
    """The HTTP replica."""

    def __init__(self, model: serve.handle.DeploymentHandle) -> None:
        self._model = model

    @app.post("/v2/models/bench/infer")
    async def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        answer: dict[str, Any] = await self._model.infer.remote(rows_of(request))
        return answer


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=128 * 1024 * 1024, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port, "access_log": False})
    application: Any = Ingress.bind(Model.bind(arguments.model))  # type: ignore[attr-defined] # Ray's decorators make deployments of classes
    serve.run(application)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
