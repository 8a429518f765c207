"""A version proves itself before it serves: signature, golden answer, independence of rows, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from serving.backends.backend import Array, Backend
from serving.backends.echo import EchoBackend, EchoOptions
from serving.backends.onnx import OnnxBackend
from serving.protocol.arrays import to_tensor
from serving.protocol.checks import MAX_NAME_CHARS
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Signature, TensorSpec
from serving.registry.finding import refusal
from serving.registry.golden import Golden
from serving.registry.options import ServingOptions
from serving.registry.proof import check_signature, prove
from tests import models

X = np.array([[1, 2, 3, 4]], np.float32)


def backend_of(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Backend:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(content)
    backend = OnnxBackend(path)
    backend.load()
    return backend


def golden_of(y: np.ndarray) -> Golden:
    return Golden((to_tensor("x", X),), (to_tensor("y", y),), "given")


def verdicts(backend: Backend, y: np.ndarray, options: ServingOptions | None = None) -> dict[str, str]:
    findings = prove(backend, golden_of(y), options or ServingOptions())
    return {finding.check: finding.verdict for finding in findings}


def test_a_model_that_answers_as_recorded_passes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No budget is set, so latency is not judged."""
    found = verdicts(backend_of(tmp_path_factory, models.add_one()), X + 1)

    assert found == {"signature": "skipped", "golden": "ok", "batching": "ok", "latency": "skipped"}


def test_another_answer_than_the_recorded_one_fails_and_says_where(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing further is tried."""
    findings = prove(backend_of(tmp_path_factory, models.add_one()), golden_of(X), ServingOptions())

    assert refusal(findings) == (
        "golden check failed: output 'y' differs in 4 of 4 elements; at [0, 0] it is 2.0, recorded was 1.0"
    )


class Away(EchoBackend):
    """Lives on a server that is away."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        raise ServingError(ErrorKind.UNAVAILABLE, "nobody answers")


def test_a_server_that_is_away_proves_nothing_against_a_version() -> None:
    """It is tried again, not refused."""
    with pytest.raises(ServingError, match="nobody answers"):
        prove(Away(), golden_of(X), ServingOptions())


def test_a_model_that_mixes_rows_is_found_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its neighbours differ from it, or the mixing would not show."""
    found = verdicts(backend_of(tmp_path_factory, models.row_mixing()), X - X)

    assert found["batching"] == "warning"


def test_rows_of_a_random_model_are_not_compared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its owner has said so by an infinite tolerance."""
    options = ServingOptions(golden_rtol=float("inf"))

    assert verdicts(backend_of(tmp_path_factory, models.row_mixing()), X, options)["batching"] == "ok"


def test_a_model_over_its_latency_budget_is_refused() -> None:
    """The budget is the owner's; the message says both numbers."""
    backend = EchoBackend(EchoOptions(inputs=(TensorSpec("x", "FP32", (-1, 4)),), delay_ms=5))
    golden = Golden((to_tensor("x", X),), (to_tensor("x", X),), "given")

    reason = refusal(prove(backend, golden, ServingOptions(latency_budget_ms=1)))

    assert reason is not None
    assert "the budget 1 ms" in reason


def signature(name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (-1, 4)) -> Signature:
    return Signature((TensorSpec(name, datatype, shape),), ())


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        (signature(), "ok"),
        (signature(shape=(8, 4)), "ok"),
        (signature(datatype="FP64"), "ok"),
        (signature(name=""), "ok"),
        (None, "skipped"),
        (signature(name="z"), "failed"),
        (signature(datatype="INT64"), "failed"),
        (signature(shape=(-1, 5)), "failed"),
        (signature(shape=(4,)), "failed"),
    ],
)
def test_the_graph_must_have_the_declared_signature(declared: Signature | None, verdict: str) -> None:
    """Dynamic sizes fit any; MLflow names no single tensor and casts floats itself."""
    assert check_signature(declared, signature()).verdict == verdict


def test_a_tensor_that_no_request_could_name_is_refused() -> None:
    """Routers bound names, so the version would load and never answer."""
    long = signature("x" * (MAX_NAME_CHARS + 1))
    assert check_signature(None, long).verdict == "failed"
    assert check_signature(None, signature("x" * MAX_NAME_CHARS)).verdict == "skipped"
