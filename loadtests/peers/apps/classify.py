"""From a V2 JSON request to its answer by onnxruntime: what every peer's app wraps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime


class Classifier:
    """The model, run by one thread: a pool only costs with one this small."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.output = self._session.get_outputs()[0].name

    def run(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run rows [N, features]; return their probabilities [N, classes]."""
        found: npt.NDArray[np.float32] = self._session.run([self.output], {self._input: rows})[0]
        return found

    def answer(self, found: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Write probabilities as a V2 answer."""
        tensor = {"name": self.output, "datatype": "FP32", "shape": list(found.shape), "data": found.ravel().tolist()}
        return {"model_name": "bench", "outputs": [tensor]}


def rows_of(request: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Read the rows [N, features] of a V2 request."""
    (tensor,) = request["inputs"]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])
