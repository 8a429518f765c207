"""`make conformance`: run the kit against a live gateway of its own and write docs/conformance.md."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import onnxruntime

from tests import models
from tests.conformance import plain_clients, tritonclients
from tests.conformance.kit import ROWS, Outcome, Target, Verdict
from tests.conformance.page import page
from tests.gateway import RunningGateway, running_gateway

MODEL = "conformance"
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def main() -> int:
    """Run everything; the exit status is 1 when a line of the matrix fails."""
    with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with running_gateway(folder / "state", home=folder) as gateway:
            outcomes = asyncio.run(_run(_serve(gateway)))
    PAGE.write_text(page(outcomes), encoding="utf-8")
    failed = [outcome for outcome in outcomes if outcome.verdict is Verdict.FAILS]
    for outcome in failed:
        print(f"{outcome.client} {outcome.method}: {outcome.remark}")
    print(f"{len(outcomes)} calls, {len(failed)} failed; the matrix is in {PAGE}")
    return 1 if failed else 0


def _serve(gateway: RunningGateway) -> Target:
    """Give version 1 all traffic; version 2 is there to be loaded and unloaded."""
    onnx = models.mlp()
    with gateway.admin as admin:
        for _ in range(2):
            admin.register(MODEL, onnx, tags={})
    gateway.route(MODEL, ("stable", 1, 10_000))
    expected = onnxruntime.InferenceSession(onnx).run(None, {"features": ROWS})[0]
    token = f"Bearer {gateway.token}"
    return Target(f"127.0.0.1:{gateway.http_port}", f"127.0.0.1:{gateway.grpc_port}", MODEL, expected, token)


async def _run(target: Target) -> list[Outcome]:
    return [*await tritonclients.run(target), *await plain_clients.run(target)]


if __name__ == "__main__":
    sys.exit(main())
