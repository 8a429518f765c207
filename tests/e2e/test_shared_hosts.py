"""Small versions in shared processes on a whole gateway: cold, held, apart after a crash, gone with the last guest."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

from router.cli.client import GatewayRefusal
from tests.gateway import RunningGateway, eventually
from tests.load import traffic
from tests.models import add

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
SHARED = {"shepherd.host": "shared"}
CRASHES_ON_13 = SHARED | {"shepherd.backend": "echo", "shepherd.echo.crash_on": "13"}


def bring_up(gateway: RunningGateway, model: str, onnx: bytes, tags: dict[str, str]) -> None:
    with gateway.admin as admin:
        admin.register(model, onnx, tags=tags)
    gateway.route(model, ("stable", 1, 10_000))


def ask(gateway: RunningGateway, model: str) -> list[float]:
    response = gateway.infer(model, FOUR["inputs"])
    assert response.status_code == 200, response.text
    data: list[float] = response.json()["outputs"][0]["data"]
    return data


def pids(gateway: RunningGateway, model: str) -> list[int]:
    return [replica["pid"] for replica in gateway.version(model, 1)["replicas"]]


def test_small_versions_share_a_process_go_cold_and_come_back_for_a_request(gateway: RunningGateway) -> None:
    """Cold ones are listed as ready and described without being loaded; the process ends when nobody needs it."""
    models = [f"small-{number}" for number in range(4)]
    for number, model in enumerate(models):
        bring_up(gateway, model, add(float(number)), SHARED)

    assert [ask(gateway, model) for model in models] == [[1 + n, 2 + n, 3 + n, 4 + n] for n in range(4)]
    (host,) = {pid for model in models for pid in pids(gateway, model)}
    assert gateway.version(models[0], 1)["holders"] == ["variant"]

    eventually(lambda: not Path(f"/proc/{host}").exists(), timeout_s=60, what="the host to end")
    assert {gateway.version(model, 1)["state"] for model in models} == {"cold"}
    metadata = httpx.get(f"{gateway.url}/v2/models/{models[1]}").json()
    assert [each["name"] for each in metadata["inputs"]] == ["x"]
    index = httpx.post(f"{gateway.url}/v2/repository/index", json={"ready": True}).json()
    assert {each["name"] for each in index} >= set(models)
    assert ask(gateway, models[3]) == [4, 5, 6, 7]
    eventually(lambda: gateway.version(models[3], 1)["state"] == "ready", what="it to be shown as loaded")


def test_a_version_that_takes_its_host_down_moves_out_and_its_neighbour_comes_back(gateway: RunningGateway) -> None:
    """The neighbour's requests are held meanwhile; the culprit serves on in a process of its own, and says why."""
    bring_up(gateway, "neighbour", add(1.0), SHARED)
    bring_up(gateway, "culprit", b"", CRASHES_ON_13)
    assert ask(gateway, "culprit") == [1, 2, 3, 4]
    assert ask(gateway, "neighbour") == [2, 3, 4, 5]
    (shared,) = {*pids(gateway, "culprit"), *pids(gateway, "neighbour")}

    with traffic(f"{gateway.url}/v2/models/neighbour/infer", FOUR, clients=1, pause_s=0.05) as load:
        poison = [{**FOUR["inputs"][0], "data": [13] * 4}]
        gateway.infer("culprit", poison, body={"parameters": {"timeout": 1_000_000}})
        eventually(lambda: not Path(f"/proc/{shared}").exists(), what="the host to die")
        eventually(lambda: gateway.version("culprit", 1)["host"] == 0, timeout_s=60, what="the culprit to move out")
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 5, timeout_s=60, what="the neighbour to be back")

    assert set(load.statuses) == {200}, load.answers[-3:]
    eventually(lambda: ask(gateway, "culprit") == [1, 2, 3, 4], timeout_s=60)
    (successor,) = pids(gateway, "neighbour")
    assert successor not in pids(gateway, "culprit")
    eventually(lambda: not Path(f"/proc/{successor}").exists(), timeout_s=60, what="the next host to end in its turn")


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own
def test_a_version_that_kills_its_process_at_load_is_refused_and_takes_nobody_with_it(gateway: RunningGateway) -> None:
    """It is tried in a child before it is let into a host."""
    bring_up(gateway, "bystander-shared", add(1.0), SHARED)
    assert ask(gateway, "bystander-shared") == [2, 3, 4, 5]
    before = pids(gateway, "bystander-shared")
    with gateway.admin as admin:
        admin.register("explosive", b"", tags=CRASHES_ON_13)
    registry = MlflowClient(f"sqlite:///{gateway.state_dir / 'registry' / 'mlflow.db'}")
    registry.set_model_version_tag("explosive", "1", "shepherd.echo.crash_on", "1")

    with pytest.raises(GatewayRefusal, match="ended with status 70"):
        gateway.route("explosive", ("stable", 1, 10_000))

    assert ask(gateway, "bystander-shared") == [2, 3, 4, 5]
    assert pids(gateway, "bystander-shared") == before
