"""An answer that no frame may carry is one call's failure, and not its connection's (Triton #8603's class)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.backends.echo import EchoBackend
from serving.deployment import loaded_model
from tests.data_plane import MODEL, running_data_plane

pytestmark = pytest.mark.asyncio


async def test_an_answer_over_the_limit_fails_alone(valkey_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beside it, on the same connection, are answered; the error says how large it was."""
    monkeypatch.setattr(loaded_model, "MAX_BODY_BYTES", 1000)
    rows = {"inputs": [{"name": "x", "shape": [100, 4], "datatype": "FP32", "data": [0] * 400}]}
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        await plane.add_replica(1, EchoBackend())
        await plane.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])
        large = plane.client.post(f"/v2/models/{MODEL}/infer", json=rows)
        answers = await asyncio.gather(*(plane.infer([1, 2, 3, 4]) for _ in range(8)), large)

    assert [answer.status_code for answer in answers] == [200] * 8 + [500]
    assert "the limit is 1000" in answers[-1].json()["error"]
