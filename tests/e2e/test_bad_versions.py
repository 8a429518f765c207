"""A version that ends every process that touches it is refused with the reason, and harms nobody."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from router.cli.client import GatewayRefusal
from tests.gateway import RunningGateway, eventually
from tests.models import add_one

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # MLflow's own
]

ROW = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
ECHO = {"shepherd.backend": "echo"}


def control_pid(gateway: RunningGateway) -> int:
    return next(pid for pid, title in gateway.processes().items() if ":control:" in title)


def test_a_model_that_crashes_is_refused_at_registration_and_at_load(gateway: RunningGateway) -> None:
    """Control lives on; the version says what happened, and nothing of it is left running between its attempts."""
    before = control_pid(gateway)
    with gateway.admin as admin:
        admin.register("beside", add_one())
        gateway.route("beside", ("stable", 1, 10_000))
        with pytest.raises(GatewayRefusal, match="ended with status 70"):
            admin.register("deadly", b"", tags={**ECHO, "shepherd.echo.crash_on": "1"})
        assert admin.register("deadly", b"", tags=ECHO) == 1
    registry = MlflowClient(f"sqlite:///{gateway.state_dir / 'registry' / 'mlflow.db'}")
    registry.set_model_version_tag("deadly", "1", "shepherd.echo.crash_on", "1")

    with pytest.raises(GatewayRefusal, match="its process died while loading"):
        gateway.route("deadly", ("stable", 1, 10_000))

    assert gateway.version("deadly", 1)["state"] == "failed"
    eventually(lambda: not [each for each in gateway.processes().values() if "deadly" in each], what="it to be gone")
    assert gateway.infer("beside", ROW).status_code == 200
    assert control_pid(gateway) == before


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        ("shepherd.threads", "1000000000", "`int` <= 1024"),
        ("shepherd.triton.urls", "grpc://169.254.169.254:80", "for backend 'triton'"),
        ("shepherd.provider", "cuda", "provider cuda is asked for"),
    ],
)
def test_a_tag_that_turned_bad_is_named(gateway: RunningGateway, tag: str, value: str, reason: str) -> None:
    """Whoever may write tags can spoil a version, and no other."""
    name = f"tagged-{tag.rpartition('.')[2]}"
    with gateway.admin as admin:
        admin.register(name, add_one())
    registry = MlflowClient(f"sqlite:///{gateway.state_dir / 'registry' / 'mlflow.db'}")
    registry.set_model_version_tag(name, "1", tag, value)

    with pytest.raises(GatewayRefusal, match=reason):
        gateway.route(name, ("stable", 1, 10_000))
