"""A model that lives on a Triton is a version like any other: registered by the command line, served at both doors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from click.testing import CliRunner

from router.cli.client import GatewayRefusal
from router.cli.main import cli
from tests.gateway import RunningGateway, eventually
from tests.models import add_one
from tests.triton import Triton, running_triton

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(180)]

X = np.array([[1, 2, 3, 4]], np.float32)
FOUR = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with running_triton(tmp_path_factory.mktemp("triton")) as running:
        running.put("add", add_one())
        yield running


def register(gateway: RunningGateway, name: str, url: str) -> int:
    arguments = ["model", "register", "--triton", url, "--triton-model", "add", "--name", name, "-o", "json"]
    tags = ["--tag", "shepherd.triton.manage=true", "--tag", "shepherd.triton.probe_s=0.3"]
    result = CliRunner().invoke(cli, [*arguments, *tags, "--state", str(gateway.state_dir)])
    assert result.exit_code == 0, result.output
    return int(json.loads(result.stdout)["version"])


def servers(gateway: RunningGateway, outcome: str) -> float | None:
    """Read the gauge of the only version on a Triton."""
    scrape = httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics").text
    found = re.search(rf'shepherd_triton_servers{{.*outcome="{outcome}".*}} (\S+)', scrape)
    return float(found[1]) if found else None


def test_a_model_on_a_triton_is_registered_served_and_mended(gateway: RunningGateway, triton: Triton) -> None:
    """Its answers are those of Triton; when its process dies there, the variant says so and comes back."""
    version = register(gateway, "remote", triton.grpc_url)
    gateway.route("remote", ("stable", version, 10_000))

    answer = gateway.infer("remote", FOUR)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [2, 3, 4, 5]
    assert gateway.version("remote", version)["lineage"]["backend"] == "triton"
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{gateway.grpc_port}") as client:
        x = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        x.set_data_from_numpy(X)
        assert client.infer("remote", [x]).as_numpy("y").tolist() == (X + 1).tolist()

    deadly = [{**FOUR[0], "data": [666] * 4}]
    assert gateway.infer("remote", deadly, body={"parameters": {"timeout": 500_000}}).status_code >= 500
    eventually(lambda: gateway.infer("remote", FOUR).status_code == 200, what="the mended model")
    pids = [replica["pid"] for replica in gateway.version("remote", version)["replicas"]]

    triton.kill()
    eventually(lambda: "gets no requests" in gateway.version("remote", version)["reason"], what="the open breaker")
    assert gateway.infer("remote", FOUR).status_code == 503
    eventually(lambda: servers(gateway, "away") == 1.0, what="the breaker's metric")
    triton.start()
    eventually(lambda: gateway.infer("remote", FOUR).status_code == 200, timeout_s=60, what="the returned server")
    assert gateway.version("remote", version)["state"] == "ready"
    assert [replica["pid"] for replica in gateway.version("remote", version)["replicas"]] == pids, "nothing restarted"


def test_a_version_whose_triton_is_gone_is_not_tried_in_a_hurry(gateway: RunningGateway, triton: Triton) -> None:
    """Without its server it cannot load: it says so, and waits between attempts."""
    version = register(gateway, "deserted", triton.grpc_url)
    triton.kill()
    with pytest.raises(GatewayRefusal, match="Triton cannot be reached"):
        gateway.route("deserted", ("stable", version, 10_000))

    assert gateway.version("deserted", version)["state"] == "failed"
    eventually(lambda: not [title for title in gateway.processes().values() if "deserted" in title], what="their end")
    triton.start()


def test_a_host_that_nobody_allowed_is_not_spoken_to(gateway: RunningGateway) -> None:
    """The tag is text of whoever may write to the registry."""
    arguments = ["model", "register", "--triton", "grpc://169.254.169.254:80", "--triton-model", "m", "--name", "far"]

    result = CliRunner().invoke(cli, [*arguments, "--state", str(gateway.state_dir)])

    assert result.exit_code == 1
    assert "may not be spoken to" in result.output
