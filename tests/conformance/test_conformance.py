"""The conformance kit against a router: every public method of every stock client works or is cleanly refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import onnxruntime
import pytest

from router.access.scope import Action
from serving.backends.onnx import OnnxBackend
from tests import models
from tests.conformance import plain_clients, tritonclients
from tests.conformance.kit import ROWS, Target, Verdict
from tests.conformance.page import page
from tests.data_plane import MODEL, running_data_plane

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(("door", "keys"), [("aio", "ignored"), ("envoy", "ignored"), ("envoy", "required")])
async def test_no_method_of_a_stock_client_fails(
    valkey_socket: Path, door: Literal["aio", "envoy"], keys: Literal["ignored", "required"]
) -> None:
    """Over both gRPC doors, and with an API key: the same matrix, without a failing line."""
    async with running_data_plane(f"unix://{valkey_socket}", grpc_door=door, api_keys=keys) as plane:
        path = plane.folder / "model.onnx"
        path.write_bytes(models.mlp())
        await plane.add_replica(1, OnnxBackend(path))
        await plane.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])
        expected = onnxruntime.InferenceSession(str(path)).run(None, {"features": ROWS})[0]
        key = await plane.grant("kit", ["*"], list(Action)) if keys == "required" else ""
        target = Target(plane.http.removeprefix("http://"), plane.grpc, MODEL, expected, key=key)

        outcomes = [*await tritonclients.run(target), *await plain_clients.run(target)]

    assert [outcome for outcome in outcomes if outcome.verdict is Verdict.FAILS] == []
    assert len(outcomes) > 110
    assert "FAILS" not in page(outcomes).replace("0 FAILS", "")
