"""Clients without a library: curl for V2, V1 and MLflow's format, and the standard gRPC health client."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conformance.kit import ROWS, Outcome, Target, Verdict


async def run(target: Target) -> list[Outcome]:
    """Ask each format once."""
    tensor = {"name": "features", "shape": list(ROWS.shape), "datatype": "FP32", "data": ROWS.ravel().tolist()}
    documents: list[tuple[str, str, dict[str, Any] | None]] = [
        ("V2 live", "/v2/health/live", None),
        ("V2 infer", f"/v2/models/{target.model}/infer", {"inputs": [tensor]}),
        ("V2 infer, pinned", f"/v2/models/{target.model}/versions/1/infer", {"inputs": [tensor]}),
        ("V1 status", f"/v1/models/{target.model}", None),
        ("V1 predict, rows", f"/v1/models/{target.model}:predict", {"instances": ROWS.tolist()}),
        ("V1 predict, columns", f"/v1/models/{target.model}:predict", {"inputs": {"features": ROWS.tolist()}}),
        ("MLflow invocations", "/invocations", {"inputs": ROWS.tolist()}),
        ("SageMaker ping", "/ping", None),
    ]
    outcomes = [await _curl(target, name, path, document) for name, path, document in documents]
    return [*outcomes, await _health(target)]


async def _curl(target: Target, name: str, path: str, document: dict[str, Any] | None) -> Outcome:
    program = shutil.which("curl")
    if program is None:
        return Outcome("curl", name, Verdict.FAILS, "curl is not installed")
    command = [program, "-sS", "--fail-with-body", "--compressed", f"http://{target.http}{path}"]
    command += [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    if document is not None:
        command += ["-H", "content-type: application/json", "-H", f"x-shepherd-model: {target.model}", "-d", "@-"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(json.dumps(document).encode() if document is not None else b"")
    if process.returncode:
        return Outcome("curl", name, Verdict.FAILS, (out or err).decode()[:200])
    is_right = document is None or _holds_expected(json.loads(out), target)
    return Outcome("curl", name, Verdict.WORKS if is_right else Verdict.FAILS, "" if is_right else "wrong answer")


def _holds_expected(answer: Any, target: Target) -> bool:
    outputs = answer.get("predictions") or answer["outputs"]
    values = outputs[0]["data"] if isinstance(outputs[0], dict) else outputs
    return bool(np.array_equal(np.array(values, np.float32).reshape(target.expected.shape), target.expected))


async def _health(target: Target) -> Outcome:
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    is_right = answer.status == health_pb2.HealthCheckResponse.SERVING
    return Outcome("grpc.health.v1", "Check", Verdict.WORKS if is_right else Verdict.FAILS)
