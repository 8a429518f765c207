"""A registry of its own over HTTP: versions and aliases come from it, and when it is gone everything goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

from router.cli.client import GatewayRefusal
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.registry import Registry
from tests.gateway import RunningGateway, eventually, running_gateway
from tests.load import traffic
from tests.mlflow_server import MlflowServer, running_mlflow
from tests.models import add

pytestmark = [
    pytest.mark.mlflow,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

SECRET = "a secret of the two"
FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
ALIAS_MOVED = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def followed(server: MlflowServer, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway on that registry which would poll once an hour: only a webhook makes it look."""
    (tmp_path / "key").write_text(SECRET)
    flags = (
        "--registry",
        server.uri,
        "--registry-webhook-key-file",
        str(tmp_path / "key"),
        "--registry-poll-s",
        "3600",
    )
    with running_gateway(tmp_path / "state", home=tmp_path, flags=flags) as running:
        yield running


def first_number(gateway: RunningGateway) -> float:
    answer = gateway.infer("followed", FOUR["inputs"])
    assert answer.status_code == 200, answer.text
    return float(answer.json()["outputs"][0]["data"][0])


def test_a_webhook_moves_the_traffic_and_without_the_server_it_goes_on(
    server: MlflowServer, followed: RunningGateway
) -> None:
    """MLflow signs, we check; then it is killed, and the gateway too: the verified cache is enough to start from."""
    client = MlflowClient(server.uri, server.uri)
    with followed.admin as admin:
        for offset in (1.0, 2.0, 3.0):
            admin.register("followed", add(offset))
        client.set_registered_model_alias("followed", "champion", "1")
        variant = {"name": "stable", "version": 1, "weight": 10_000, "alias": "champion"}
        admin.create_policy("followed", {"model": "followed", "variants": [variant]}, "a test")
    url = f"http://127.0.0.1:{followed.admin_port}/registry/webhook"
    client.create_webhook("shepherd", url, [ALIAS_MOVED], secret=SECRET)

    with traffic(f"{followed.url}/v2/models/followed/infer", FOUR) as load:
        eventually(lambda: len(load.answers) > 20)
        client.set_registered_model_alias("followed", "champion", "2")
        eventually(lambda: load.answers[-1].version == "2", timeout_s=60, what="the version that the alias moved to")
        server.kill()
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 50)
    assert set(load.statuses) == {200}, load.statuses

    followed.kill()
    eventually(lambda: not followed.processes(), what="processes to end with their gateway")
    followed.launch()
    followed.wait_until_ready()
    assert first_number(followed) == 3.0
    with pytest.raises(GatewayRefusal, match="registry"):
        followed.route("followed", ("stable", 3, 10_000))
    assert first_number(followed) == 3.0
    server.start()


def test_a_download_that_is_not_what_was_registered_is_refused(server: MlflowServer, tmp_path: Path) -> None:
    """Cut short on the server's disk; another version of the same server is fetched as if nothing were."""
    registry = Registry.open(server.uri, state_dir=tmp_path)
    registry.register("cut", add(7.0))
    (file,) = (path for path in server.artifacts.rglob("model.onnx") if path.read_bytes() == add(7.0))
    registry.register("whole", add(5.0))
    file.write_bytes(add(7.0)[:-20])

    with pytest.raises(ServingError, match="sha256 of its model") as refused:
        registry.fetch(registry.resolve("cut", 1))

    assert refused.value.kind is ErrorKind.INVALID
    assert registry.fetch(registry.resolve("whole", 1)).onnx
    registry.close()
