"""HTTP beyond V2 inference: models, repository, settings, V1 and MLflow's formats, health of other kinds."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from router.control.web import WebServer
from router.ports import VersionStatus
from serving.backends.echo import EchoBackend, EchoOptions
from serving.backends.onnx import OnnxBackend
from serving.protocol.messages import TensorSpec
from tests import models
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.ports import free_ports

pytestmark = pytest.mark.asyncio

ONE = [{"name": "stable", "version": 1, "weight": 10_000}]
BOTH = [{"name": "stable", "version": 1, "weight": 10_000}, {"name": "canary", "version": 2, "weight": 0}]


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router with two versions of y = x + version; version 2 is dark."""
    (admin_port,) = free_ports(1)
    async with running_data_plane(f"unix://{valkey_socket}", admin_port=admin_port) as running:
        for version in (1, 2):
            await add(running, version, models.add(float(version)))
        await running.set_policy(variants=BOTH)
        yield running


async def add(plane: DataPlane, version: int, model: bytes) -> onnxruntime.InferenceSession:
    path = plane.folder / f"{version}.onnx"
    path.write_bytes(model)
    await plane.add_replica(version, OnnxBackend(path))
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


async def post(plane: DataPlane, path: str, document: Any, **headers: str) -> httpx.Response:
    return await plane.client.post(path, json=document, headers={k.replace("_", "-"): v for k, v in headers.items()})


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_configuration_has_shapes_without_the_batch_axis(plane: DataPlane) -> None:
    """Triton's document, from the signature."""
    config = (await plane.client.get(f"/v2/models/{MODEL}/versions/2/config")).json()

    assert (config["name"], config["backend"]) == (MODEL, "onnxruntime")
    assert config["max_batch_size"] > 0
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]


async def test_statistics_count_what_each_version_did(plane: DataPlane) -> None:
    """Successes and failures, by version."""
    for _ in range(3):
        await plane.infer([0, 0, 0, 0])
    await plane.infer([0, 0, 0])
    await plane.infer([0, 0, 0, 0], path=f"/v2/models/{MODEL}/versions/2/infer")

    own = (await plane.client.get(f"/v2/models/{MODEL}/stats")).json()["model_stats"]
    pinned = (await plane.client.get(f"/v2/models/{MODEL}/versions/2/stats")).json()["model_stats"]
    everything = (await plane.client.get("/v2/models/stats")).json()["model_stats"]

    counts = {
        s["version"]: (s["inference_stats"]["success"]["count"], s["inference_stats"]["fail"]["count"]) for s in own
    }
    assert counts == {"1": (3, 1), "2": (1, 0)}
    assert own[0]["inference_stats"]["success"]["ns"] > 0
    assert pinned == [own[1]]
    assert everything == own


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats", "/versions/9", "/versions/9/stats", "/versions/x"])
async def test_an_unknown_model_or_version_is_not_found_anywhere(plane: DataPlane, path: str) -> None:
    """404 with a reason."""
    model = MODEL if "versions" in path else "nope"

    answer = await plane.client.get(f"/v2/models/{model}{path}")

    assert answer.status_code == 404
    assert answer.json()["error"]


async def test_health_checks_of_other_kinds_are_answered(plane: DataPlane) -> None:
    """SageMaker's ping, MLflow's health and version."""
    assert [(await plane.client.get(path)).status_code for path in ("/ping", "/health", "/v2/health/ready")] == [
        200
    ] * 3
    assert (await plane.client.get("/version")).text == (await plane.client.get("/v2")).json()["version"]


# ── repository ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_index_says_where_each_version_stands(plane: DataPlane) -> None:
    """As control has published it, in Triton's words."""
    failed = VersionStatus(MODEL, 3, "failed", "onnxruntime cannot load model.onnx")
    ready = [VersionStatus(MODEL, version, "ready") for version in (1, 2)]
    await plane.board.publish([*ready, failed])
    await asyncio.sleep(0.01)

    index = (await post(plane, "/v2/repository/index", {})).json()
    only_ready = (await post(plane, "/v2/repository/index", {"ready": True})).json()

    assert [(entry["version"], entry["state"]) for entry in index] == [
        ("1", "READY"),
        ("2", "READY"),
        ("3", "UNAVAILABLE"),
    ]
    assert index[2]["reason"] == failed.reason
    assert only_ready == index[:2]


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"file:1/model.onnx": "AAAA"}, 501, "registry"),
        ({"config": "{}"}, 501, "as it was registered"),
        ({"version": "latest"}, 404, "not a version"),
        ({"version": True}, 400, "version"),
        ({}, 401, "token"),
    ],
)
async def test_what_a_request_may_not_load_is_refused_with_the_reason(
    plane: DataPlane, parameters: dict[str, Any], status: int, words: str
) -> None:
    """No files, no overrides, no authority without a token."""
    answer = await post(plane, f"/v2/repository/models/{MODEL}/load", {"parameters": parameters})

    assert answer.status_code == status
    assert words in answer.json()["error"]


async def test_loading_is_asked_of_control_with_the_callers_own_token(plane: DataPlane) -> None:
    """The door has no authority of its own: what control says is what the client hears."""
    asked: list[tuple[str, str]] = []
    control = FastAPI()

    @control.post("/admin/v1/models/{path:path}")
    async def act(path: str, request: Request) -> JSONResponse:
        asked.append((path, request.headers["authorization"]))
        if request.headers["authorization"] != "Bearer good":
            return JSONResponse({"detail": "not for you"}, 403)
        return JSONResponse({}) if path.endswith("/load") else JSONResponse({"detail": "the policy names it"}, 409)

    server = WebServer(control, "127.0.0.1", plane.settings.admin_port)
    await server.start()
    load = f"/v2/repository/models/{MODEL}/load"
    good = await post(plane, load, {"parameters": {"version": 2}}, authorization="Bearer good")
    newest = await post(plane, load, {}, authorization="Bearer good")
    bad = await plane.client.post(load, json={}, headers={b"authorization": b"Bearer \xe9"})
    named = await post(plane, f"/v2/repository/models/{MODEL}/unload", {}, authorization="Bearer good")
    await server.close()
    away = await post(plane, load, {}, authorization="Bearer good")

    assert [answer.status_code for answer in (good, newest, bad, named, away)] == [200, 200, 403, 400, 503]
    assert named.json()["error"] == "the policy names it"
    assert [path for path, _ in asked] == [
        f"{MODEL}/versions/2/load",
        f"{MODEL}/load",
        f"{MODEL}/load",
        f"{MODEL}/unload",
    ]


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/v2/logging", {"log_verbose_level": 1}),
        ("/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
        (f"/v2/models/{MODEL}/trace/setting", {"trace_rate": "1"}),
    ],
)
async def test_settings_can_be_read_and_a_change_is_refused(
    plane: DataPlane, path: str, change: dict[str, Any]
) -> None:
    """Writing back what was read is no change; an unknown name is the client's fault."""
    current = (await plane.client.get(path)).json()

    assert (await post(plane, path, current)).json() == current
    assert (await post(plane, path, change)).status_code == 501
    assert (await post(plane, path, {"no_such_setting": 1})).status_code == 400


# ── V1 and MLflow ────────────────────────────────────────────────────────────────────────────────────────────────────

PREDICT = f"/v1/models/{MODEL}:predict"


async def test_v1_rows_and_columns_are_answered_alike(plane: DataPlane) -> None:
    """`instances` gives `predictions`, `inputs` gives `outputs`; one input and one output stand bare."""
    rows = await post(plane, PREDICT, {"instances": [[1, 2, 3, 4], [5, 6, 7, 8]]})
    named = await post(plane, PREDICT, {"instances": [{"x": [1, 2, 3, 4]}]})
    columns = await post(plane, PREDICT, {"inputs": {"x": [[1, 2, 3, 4]]}, "signature_name": "serving_default"})
    bare = await post(plane, PREDICT, {"inputs": [[1, 2, 3, 4]]})

    assert rows.json() == {"predictions": [[2, 3, 4, 5], [6, 7, 8, 9]]}
    assert named.json() == {"predictions": [[2, 3, 4, 5]]}
    assert columns.json() == bare.json() == {"outputs": [[2, 3, 4, 5]]}
    assert rows.headers["x-shepherd-variant"] == "stable"


async def test_v1_versions_and_labels_pin(plane: DataPlane) -> None:
    """A label is the name of a variant."""
    row = {"instances": [[0, 0, 0, 0]]}
    by_version = await post(plane, f"/v1/models/{MODEL}/versions/2:predict", row)
    by_label = await post(plane, f"/v1/models/{MODEL}/labels/canary:predict", row)
    unknown = await post(plane, f"/v1/models/{MODEL}/labels/nope:predict", row)

    assert by_version.json() == by_label.json() == {"predictions": [[2, 2, 2, 2]]}
    assert by_label.headers["x-shepherd-reason"] == "pin"
    assert unknown.status_code == 404


async def test_v1_reports_readiness_in_both_dialects(plane: DataPlane) -> None:
    """KServe's `ready`, TF Serving's `model_version_status`."""
    status = (await plane.client.get(f"/v1/models/{MODEL}")).json()

    assert status["ready"] is True
    assert [entry["state"] for entry in status["model_version_status"]] == ["AVAILABLE", "AVAILABLE"]
    assert (await plane.client.get("/v1/models")).json() == {"models": [MODEL]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "exactly one of instances, inputs"),
        ({"instances": [[1, 2, 3, 4]], "inputs": [[1]]}, "exactly one"),
        ({"instances": [[1, 2], [3]]}, "different lengths"),
        ({"instances": [["a", "b", "c", "d"]]}, '"x"'),
        ({"instances": [[1.0, True, 3, 4]]}, '"x"'),
        ({"inputs": {"z": [[1, 2, 3, 4]]}}, '"x" is missing'),
        ({"inputs": {"x": [[1, 2, 3, 4]], "z": 1}}, '"z" is no input'),
        ({"instances": [[[[[[1]]]]]]}, "shape"),
        ({"instances": [[1, 2, 3, 4]], "signature_name": "other"}, "signature_name"),
        ({"instances": [[1, 2, 3, 4]], "signature_name": []}, "signature_name"),
        ({"instances": [[1, 2, 3, 4, 5]]}, "shape"),
    ],
)
async def test_a_wrong_v1_body_is_refused_with_the_field_named(plane: DataPlane, document: Any, words: str) -> None:
    """400, never 500."""
    answer = await post(plane, PREDICT, document)

    assert answer.status_code == 400
    assert words in answer.json()["error"]


async def test_a_deeply_nested_v1_body_is_refused(plane: DataPlane) -> None:
    """Whatever the parser's limit is, the answer is 400."""
    answer = await plane.client.post(PREDICT, content=b'{"instances":' + b"[" * 100_000)

    assert answer.status_code == 400


async def test_v1_verbs_that_are_not_offered_say_so(plane: DataPlane) -> None:
    """501 with the reason."""
    for path in (f"/v1/models/{MODEL}:explain", f"/v1/models/{MODEL}/versions/1:classify"):
        assert (await post(plane, path, {})).status_code == 501


async def test_bytes_travel_as_text_or_base64(plane: DataPlane) -> None:
    """`{"b64": …}` both ways, where it is no text."""
    await add(plane, 3, models.strings())
    path = f"/v1/models/{MODEL}/versions/3:predict"
    await plane.set_policy(variants=[*BOTH, {"name": "text", "version": 3, "weight": 0}])

    text = await post(plane, path, {"instances": ["a", {"b64": base64.b64encode("ü".encode()).decode()}]})

    assert text.json() == {"predictions": ["a", "ü"]}


async def test_several_inputs_and_outputs_stand_by_name(plane: DataPlane) -> None:
    """Row by row, or whole."""
    await add(plane, 4, models.two_inputs())
    await plane.set_policy(variants=[{"name": "pair", "version": 4, "weight": 10_000}])

    rows = await post(plane, PREDICT, {"instances": [{"a": [1, 2], "b": [3, 4]}]})
    columns = await post(plane, PREDICT, {"inputs": {"a": [[1, 2]], "b": [[3, 4]]}})

    assert rows.json() == {"predictions": [{"sum": [4, 6], "product": [3, 8]}]}
    assert columns.json() == {"outputs": {"sum": [[4, 6]], "product": [[3, 8]]}}


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["a", "b", "c", "d"], "data": [[1, 2, 3, 4]]}},
        {"dataframe_records": [{"a": 1, "b": 2, "c": 3, "d": 4}]},
        {"instances": [[1, 2, 3, 4]]},
        {"inputs": [[1, 2, 3, 4]]},
        {"inputs": {"x": [[1, 2, 3, 4]]}},
    ],
    ids=["split", "records", "instances", "whole", "by name"],
)
async def test_mlflows_formats_are_read_by_signature(plane: DataPlane, document: Any) -> None:
    """The only model there is answers; all columns make its one input."""
    answer = await post(plane, "/invocations", document)

    assert answer.json() == {"predictions": [[2, 3, 4, 5]]}


async def test_a_data_frame_gives_each_input_its_column(plane: DataPlane) -> None:
    """By name, in any order; several outputs come as records."""
    columns = tuple(TensorSpec(name, "FP64", (-1, 1)) for name in ("age", "fare"))
    await plane.add_replica(5, EchoBackend(EchoOptions(inputs=columns)))
    await plane.set_policy(variants=[{"name": "frame", "version": 5, "weight": 10_000}])

    answer = await post(
        plane, "/invocations", {"dataframe_split": {"columns": ["fare", "age"], "data": [[1, 2], [3, 4]]}}
    )

    assert answer.json() == {"predictions": [{"age": [2], "fare": [1]}, {"age": [4], "fare": [3]}]}


async def test_an_invocation_names_its_model_where_there_are_several(plane: DataPlane) -> None:
    """By header; unknown names are not found."""
    answer = await post(plane, "/invocations", {"inputs": [[0, 0, 0, 0]]}, x_shepherd_model="nope")

    assert answer.status_code == 404


async def test_answers_of_both_formats_equal_onnxruntimes(plane: DataPlane) -> None:
    """The same numbers as V2 gives."""
    session = await add(plane, 6, models.mlp())
    await plane.set_policy(variants=[{"name": "mlp", "version": 6, "weight": 10_000}])
    rows = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    expected = session.run(None, {"features": rows})[0]

    predicted = (await post(plane, PREDICT, {"instances": rows.tolist()})).json()["predictions"]

    np.testing.assert_array_equal(np.array(predicted, np.float32), expected)
