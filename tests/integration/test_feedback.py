"""Labels come back over the inference port and lie in the stream, or are refused for the client to send again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from router.adapters.redis.labels import PostedLabel, RedisLabels
from router.cli.main import cli
from router.requestlog.label import MAX_LABELS, Label
from serving.backends.onnx import OnnxBackend
from tests import models
from tests.data_plane import MODEL, DataPlane, running_data_plane

pytestmark = pytest.mark.asyncio

PATH = f"/v2/models/{MODEL}/feedback"


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router with one version of y = x + 1."""
    async with running_data_plane(f"unix://{valkey_socket}") as running:
        await _serve(running)
        yield running


async def _serve(plane: DataPlane) -> None:
    path = plane.folder / "1.onnx"
    path.write_bytes(models.add_one())
    await plane.add_replica(1, OnnxBackend(path))
    await plane.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])


async def post(plane: DataPlane, document: Any, path: str = PATH) -> httpx.Response:
    return await plane.client.post(path, json=document)


async def stored(labels: RedisLabels) -> list[PostedLabel]:
    return [entry async for entry in labels.entries()]


async def test_the_label_of_an_answer_is_in_the_stream_when_it_is_accepted(plane: DataPlane) -> None:
    """Under the id that the answer gave, with the time at which it came."""
    before = time.time()
    answer = await plane.infer([0, 0, 0, 0])
    request_id = answer.headers["x-shepherd-request-id"]

    reply = await post(plane, {"request_id": request_id, "label": [1.0]})

    assert (reply.status_code, reply.json()) == (202, {"accepted": 1, "rejected": 0})
    (entry,) = await stored(plane.labels)
    assert (entry.model, entry.label) == (MODEL, Label(request_id, (1.0,)))
    assert before <= entry.at <= time.time()


async def test_of_many_the_right_ones_are_kept_and_the_wrong_ones_named(plane: DataPlane) -> None:
    """202 with both counts."""
    sent = [{"request_id": "a", "label": 1}, {"request_id": "b"}, {"request_id": "c", "outcome": 3.5}]

    reply = await post(plane, {"labels": sent}, f"/v2/models/{MODEL}/versions/1/feedback")

    assert reply.status_code == 202
    assert (reply.json()["accepted"], reply.json()["rejected"]) == (2, 1)
    assert [(error["index"], error["field"]) for error in reply.json()["errors"]] == [(1, "label")]
    assert [entry.label for entry in await stored(plane.labels)] == [Label("a", 1), Label("c", None, 3.5)]


async def test_what_holds_no_label_is_refused(plane: DataPlane) -> None:
    """By its own fault, for an unknown model, or for its size; nothing is kept."""
    wrong = await post(plane, {"request_id": "a"})
    unknown = await post(plane, {"request_id": "a", "label": 1}, "/v2/models/other/feedback")
    version = await post(plane, {"request_id": "a", "label": 1}, f"/v2/models/{MODEL}/versions/9/feedback")
    crowd = await post(plane, {"labels": [{"request_id": "a", "label": 1}] * (MAX_LABELS + 1)})

    assert [reply.status_code for reply in (wrong, unknown, version, crowd)] == [400, 404, 404, 413]
    assert "label" in wrong.json()["error"]
    assert await stored(plane.labels) == []


async def test_while_redis_is_away_labels_are_refused_and_serving_goes_on(tmp_path: Path) -> None:
    """503 with Retry-After: the client has its labels still."""
    async with running_data_plane(f"unix://{tmp_path}/nowhere.sock") as plane:
        await _serve(plane)

        reply = await post(plane, {"request_id": "a", "label": 1})

        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert (await plane.infer([0, 0, 0, 0])).status_code == 200


async def test_old_labels_leave_a_full_stream(valkey_socket: Path) -> None:
    """It is bounded whatever is posted."""
    labels = RedisLabels(f"unix://{valkey_socket}", prefix="bounded:", max_entries=100)
    try:
        for start in range(0, 2000, 500):
            await labels.add("m", [Label(str(n), n) for n in range(start, start + 500)], at=1.0)
        kept = [entry.label.label for entry in await stored(labels)]
    finally:
        await labels.close()

    assert len(kept) < 500
    assert kept[-1] == 1999


async def test_a_file_of_labels_is_sent_by_the_command_line(plane: DataPlane, tmp_path: Path) -> None:
    """In as many messages as it takes; numbers and truths as such."""
    file = tmp_path / "labels.csv"
    rows = ["a,1,", "b,true,", "c,cat,2.5", *(f"r{n},{n}," for n in range(MAX_LABELS))]
    file.write_text("\n".join(["request_id,label,outcome", *rows]))

    result = await _feedback(plane, file)

    assert result.exit_code == 0, result.output
    entries = [entry.label for entry in await stored(plane.labels)]
    assert entries[:3] == [Label("a", 1), Label("b", True), Label("c", "cat", 2.5)]
    assert len(entries) == MAX_LABELS + 3


async def test_a_refused_line_of_a_file_is_named(plane: DataPlane, tmp_path: Path) -> None:
    """With its number in the file; the others are sent."""
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\na,1\n,0\n")

    result = await _feedback(plane, file)

    assert result.exit_code == 1
    assert "line 3: request_id" in result.output
    assert len(await stored(plane.labels)) == 1


async def _feedback(plane: DataPlane, file: Path) -> Result:
    arguments = ["feedback", MODEL, str(file), "--url", plane.http]
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments)
