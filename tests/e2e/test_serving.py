"""The promises of the data plane on a whole gateway: right answers, and none lost when a process dies."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc
import tritonclient.http

from router.adapters.files.spool_accounting import LocalLogAccounting
from router.adapters.redis.request_log import RedisRequestLog
from router.cli.location import find_node
from router.layout import Layout
from tests.gateway import RunningGateway, eventually
from tests.load import traffic
from tests.models import add, mlp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROWS = np.random.default_rng(7).normal(size=(5, 16)).astype(np.float32)
FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


def register(gateway: RunningGateway, model: str, *versions: bytes, replicas: int = 1) -> None:
    """Register versions and give all traffic to the first."""
    tags = {"shepherd.min_replicas": str(replicas), "shepherd.max_replicas": str(replicas)}
    with gateway.admin as admin:
        for onnx in versions:
            admin.register(model, onnx, tags=tags)
    gateway.route(model, ("stable", 1, 10_000))


def replica_pids(gateway: RunningGateway, model: str, *, count: int, but: int = 0) -> list[int]:
    """Process ids of a version's replicas, as status shows them; none unless there are `count`, and all but `but`."""
    pids = [int(replica["pid"]) for replica in gateway.version(model, 1)["replicas"]]
    return pids if len(pids) == count and but not in pids else []


def url_of(gateway: RunningGateway, model: str) -> str:
    return f"{gateway.url}/v2/models/{model}/infer"


def pids_titled(gateway: RunningGateway, title: str) -> list[int]:
    return [pid for pid, name in gateway.processes().items() if title in name]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_stock_tritonclient_gets_what_onnxruntime_answers(gateway: RunningGateway, protocol: str) -> None:
    """The same floats, whichever door and encoding."""
    model, onnx = f"oracle-{protocol}", mlp()
    register(gateway, model, onnx)
    expected = onnxruntime.InferenceSession(onnx).run(None, {"features": ROWS})[0]
    client: Any
    if protocol == "http":
        api, client = tritonclient.http, tritonclient.http.InferenceServerClient(gateway.url.removeprefix("http://"))
    else:
        api, client = tritonclient.grpc, tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{gateway.grpc_port}")

    with client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        features = api.InferInput("features", list(ROWS.shape), "FP32")
        features.set_data_from_numpy(ROWS)
        answer = client.infer(model, [features], outputs=[api.InferRequestedOutput("probabilities")])

    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, rtol=1e-6)


def test_one_of_two_replicas_is_killed_under_load_and_no_request_fails(gateway: RunningGateway) -> None:
    """What it held is answered by the other; Ray Serve puts a new one in its place."""
    register(gateway, "pair", add(1.0), replicas=2)
    before = eventually(lambda: replica_pids(gateway, "pair", count=2), what="two replicas")

    with traffic(url_of(gateway, "pair"), FOUR) as load:
        eventually(lambda: len(load.answers) > 100)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: replica_pids(gateway, "pair", count=2, but=before[0]), timeout_s=60, what="a new replica")
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 50)

    assert set(load.statuses) == {200}, load.statuses
    assert load.reconnects == 0


def test_the_only_replica_is_killed_and_requests_wait_for_its_successor(gateway: RunningGateway) -> None:
    """Within their deadline nobody sees an error."""
    register(gateway, "single", add(1.0))
    (pid,) = eventually(lambda: replica_pids(gateway, "single", count=1))

    with traffic(url_of(gateway, "single"), FOUR) as load:
        eventually(lambda: len(load.answers) > 50)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: replica_pids(gateway, "single", count=1, but=pid), timeout_s=60, what="a successor")
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 50)

    assert set(load.statuses) == {200}, load.answers[-3:]


def test_weights_change_under_load_and_no_request_fails(gateway: RunningGateway) -> None:
    """Twenty revisions while clients ask; each answer is one version's or the other's."""
    register(gateway, "moving", add(1.0), add(2.0))

    with traffic(url_of(gateway, "moving"), FOUR) as load:
        for step in range(0, 10_001, 500):
            gateway.route("moving", ("stable", 1, 10_000 - step), ("canary", 2, step))
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 20)

    assert set(load.statuses) == {200}, load.statuses
    assert {answer.version for answer in load.answers} == {"1", "2"}
    assert {answer.version for answer in load.answers[answered + 10 :]} == {"2"}


def test_a_killed_router_loses_no_answered_record(gateway: RunningGateway) -> None:
    """Every answer that a client got is in the stream, once, though its router died before shipping it."""
    register(gateway, "recorded", add(1.0))

    with traffic(url_of(gateway, "recorded"), FOUR) as load:
        eventually(lambda: len(load.answers) > 100)
        (router,) = pids_titled(gateway, "gateway:Router")
        os.kill(router, signal.SIGKILL)
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 100, timeout_s=60, what="answers of the next router")
    assert set(load.statuses) == {200}, [answer for answer in load.answers if answer.status != 200]
    assert load.reconnects > 0
    answers = {answer.request_id for answer in load.answers}

    spools = LocalLogAccounting(gateway.state_dir / "spool")
    eventually(lambda: not spools.read()["spool"]["waiting_bytes"], timeout_s=60, what="all spools to be shipped")
    found = shipped_ids(gateway, "recorded")

    assert answers - set(found) == set(), spools.read()
    assert len(found) == len(set(found))


def shipped_ids(gateway: RunningGateway, model: str) -> list[str]:
    """Request ids of a model's records in the stream."""
    state = gateway.state_dir

    async def read() -> list[str]:
        log = RedisRequestLog(f"unix://{socket_of(state)}")
        try:
            return [record.request_id async for record in log.records() if record.model == model]
        finally:
            await log.close()

    return asyncio.run(read())


def socket_of(state_dir: Path) -> Path:
    """Find the embedded Valkey's socket, wherever the run directory is."""
    run = state_dir / "run"
    elsewhere = run / "elsewhere"
    return Layout(state_dir, elsewhere.readlink() if elsewhere.is_symlink() else run).redis_socket


def test_the_grpc_door_is_replaced_on_request_and_no_call_is_lost(gateway: RunningGateway) -> None:
    """`shepherd reload` waits until another process serves."""
    model = "reloaded"
    register(gateway, model, add(1))
    before = find_node(gateway.state_dir).door_pid
    client: Any
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{gateway.grpc_port}") as client:
        wanted = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        wanted.set_data_from_numpy(np.ones((1, 4), np.float32))
        done = threading.Event()

        def call_on() -> int:
            answered = 0
            while not done.is_set():
                client.infer(model, [wanted])
                answered += 1
            return answered

        with ThreadPoolExecutor(1) as calling:
            answers = calling.submit(call_on)
            said = gateway.shepherd("reload")
            eventually(lambda: before not in gateway.processes(), what="the old one to end")
            done.set()
            assert answers.result() > 0

    after = find_node(gateway.state_dir).door_pid
    assert after in gateway.processes()
    assert str(after) in said
