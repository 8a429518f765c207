"""The conformance kit against a router: every public method of every stock client works or is cleanly refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import onnxruntime
import pytest

from serving.backends.onnx import OnnxBackend
from tests import models
from tests.conformance import plain_clients, tritonclients
from tests.conformance.kit import ROWS, Target, Verdict
from tests.conformance.page import page
from tests.data_plane import MODEL, running_data_plane

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("door", ["aio", "envoy"])
async def test_no_method_of_a_stock_client_fails(valkey_socket: Path, door: Literal["aio", "envoy"]) -> None:
    """Over both gRPC doors: the same matrix, without a failing line."""
    async with running_data_plane(f"unix://{valkey_socket}", grpc_door=door) as plane:
        path = plane.folder / "model.onnx"
        path.write_bytes(models.mlp())
        await plane.add_replica(1, OnnxBackend(path))
        await plane.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])
        expected = onnxruntime.InferenceSession(str(path)).run(None, {"features": ROWS})[0]
        target = Target(plane.http.removeprefix("http://"), plane.grpc, MODEL, expected)

        outcomes = [*await tritonclients.run(target), *await plain_clients.run(target)]

    assert [outcome for outcome in outcomes if outcome.verdict is Verdict.FAILS] == []
    assert len(outcomes) > 110
    assert "FAILS" not in page(outcomes).replace("0 FAILS", "")
