"""The model on LitServe, batching as its documentation advises: `python -m loadtests.peers.apps.litserve_app`."""

import argparse
from typing import Any

import litserve
import numpy as np
import numpy.typing as npt

from loadtests.peers.apps.classify import Classifier, rows_of

Rows = npt.NDArray[np.float32]


class Api(litserve.LitAPI):
    """LitServe's four steps."""

    def __init__(self, model: str, path: str) -> None:
        super().__init__(max_batch_size=64, batch_timeout=0.0, api_path=path)
        self._model = model

    def setup(self, device: str) -> None:
        """Load the model, in the worker."""
        self._classifier = Classifier(self._model)

    def decode_request(self, request: dict[str, Any]) -> Rows:
        """Read the rows of one request."""
        return rows_of(request)

    def batch(self, inputs: list[Rows]) -> Rows:
        """Join requests."""
        self._lengths = [len(rows) for rows in inputs]
        return np.concatenate(inputs)

    def predict(self, rows: Rows) -> Rows:
        """Run a batch."""
        return self._classifier.run(rows)

    def unbatch(self, found: Rows) -> list[Rows]:
        """Part the answers."""
        return list(np.split(found, np.cumsum(self._lengths)[:-1]))

    def encode_response(self, found: Rows) -> dict[str, Any]:
        """Write one answer."""
        return self._classifier.answer(found)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    server = litserve.LitServer(Api(arguments.model, arguments.path), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=arguments.port, num_api_servers=1, generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
