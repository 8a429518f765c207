"""From nothing to ready and back to nothing: what `shepherd up` and `down` leave, refuse and bring back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlflow import MlflowClient

from router.adapters.redis.claim import Claim
from router.cli.client import GatewayRefusal, GatewayUnreachable
from tests.gateway import STOPPED_S, RunningGateway, eventually, running_gateway
from tests.grpc_calls import INFER, infer_message
from tests.models import add, random_noise
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ONE = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway of a test's own, with all the processes that it may have, to be stopped by it in its own way."""
    (tmp_path / "home").mkdir()
    flags = ("--log-parquet-folder", str(tmp_path / "log"), "--log-parquet-interval-s", "0.1", "--drain-timeout-s", "2")
    with running_gateway(tmp_path / "state", home=tmp_path / "home", flags=flags) as running:
        yield running


def answer(gateway: RunningGateway, model: str, **request: object) -> list[float]:
    """What a model answers to [1, 2, 3, 4]."""
    response = gateway.infer(model, ONE, **request)
    assert response.status_code == 200, response.text
    values: list[float] = response.json()["outputs"][0]["data"]
    return values


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def shepherd(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "router.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"HOME": str(home)}, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_gateway_that_is_stopped_leaves_nothing_but_its_state(fresh: RunningGateway, number: int) -> None:
    """Ctrl-C, or a supervisor's signal to the whole group: no process, no port, no file elsewhere.

    Nor any doubt about what was answered: the log is in its folder.
    """
    with fresh.admin as admin:
        admin.register("add", add(1.0))
    fresh.route("add", ("stable", 1, 10_000))
    assert answer(fresh, "add") == [2, 3, 4, 5]
    log = fresh.state_dir.with_name("log")
    eventually(lambda: list(log.glob("records/model=add/date=*/*.parquet")), what="the log's file")
    run_dir = (fresh.state_dir / "run" / "elsewhere").readlink()
    assert fresh.processes()
    assert fresh.stop(number) == 0
    eventually(lambda: not fresh.processes(), what="processes to end")
    assert not [port for port in fresh.ports if is_listening(port)]
    assert not run_dir.exists()
    assert not (fresh.state_dir / "run").exists()
    assert list(fresh.home.iterdir()) == []
    assert list((fresh.state_dir / "logs" / "ray").glob("raylet.*"))


def test_down_stops_the_gateway_of_a_state_directory(fresh: RunningGateway) -> None:
    """And says so when there is none. A gRPC call that hangs is refused by its router, before Envoy ends."""
    with fresh.admin as admin:
        admin.register("hangs", add(1.0), tags={"shepherd.backend": "echo", "shepherd.echo.hang_on": "7"})
    fresh.route("hangs", ("stable", 1, 10_000))
    with grpc.insecure_channel(f"127.0.0.1:{fresh.grpc_port}") as channel:
        infer: Any = channel.unary_unary(INFER)
        hanging = infer.future(infer_message(7, 7, 7, 7, model="hangs"))
        in_flight = 'shepherd_requests_in_flight{model="hangs",version="1"} 1'
        eventually(
            lambda: in_flight in httpx.get(f"http://127.0.0.1:{fresh.metrics_port}/metrics").text, what="the call"
        )
        assert shepherd("down", "--state", str(fresh.state_dir), home=fresh.home).returncode == 0
        refusal = hanging.exception(timeout=5)
        assert isinstance(refusal, grpc.Call)
        assert (refusal.code(), refusal.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "this gateway is stopping; retry later",
        )
    assert fresh.process is not None
    assert fresh.process.wait(STOPPED_S) == 0
    again = shepherd("down", "--state", str(fresh.state_dir), home=fresh.home)
    assert again.returncode == 0
    assert "No gateway runs" in again.stdout


def test_a_second_gateway_on_a_state_directory_is_refused(gateway: RunningGateway) -> None:
    """It names the first and what to do, and does no harm."""
    refused = shepherd("up", "--state", str(gateway.state_dir), home=gateway.home)
    assert refused.returncode == 1
    assert gateway.process is not None
    assert f"pid {gateway.process.pid}" in refused.stderr
    assert "shepherd down" in refused.stderr
    with gateway.admin as admin:
        assert admin.status()


def test_a_port_in_use_is_told_before_anything_is_started(gateway: RunningGateway, tmp_path: Path) -> None:
    """Which port, and the flag that chooses another."""
    taken = str(gateway.http_port)
    refused = shepherd("up", "--state", str(tmp_path / "other"), "--http-port", taken, home=tmp_path)
    assert refused.returncode == 1
    assert taken in refused.stderr
    assert "--http-port" in refused.stderr
    assert not (tmp_path / "other" / "redis").exists()


def test_an_unreachable_redis_is_told_at_start(tmp_path: Path) -> None:
    """Which one, and what to do."""
    names = ("http", "grpc", "metrics", "admin")
    ports = [part for name, port in zip(names, free_ports(4), strict=True) for part in (f"--{name}-port", str(port))]
    url = "redis://127.0.0.1:1"
    refused = shepherd("up", "--state", str(tmp_path / "state"), "--redis-url", url, *ports, home=tmp_path)
    assert refused.returncode == 1
    assert "127.0.0.1:1" in refused.stderr
    assert "--redis-url" in refused.stderr


def test_a_redis_database_that_another_gateway_uses_is_refused(tmp_path: Path, valkey_socket: Path) -> None:
    """Before anything is started; it says whose it is."""
    names = ("http", "grpc", "metrics", "admin")
    ports = [part for name, port in zip(names, free_ports(4), strict=True) for part in (f"--{name}-port", str(port))]
    url = f"unix://{valkey_socket}?db=8"
    claim = Claim(url, "elsewhere:/state")
    claim.take()
    refused = shepherd("up", "--state", str(tmp_path / "state"), "--redis-url", url, *ports, home=tmp_path)
    claim.release()
    assert refused.returncode == 1
    assert "elsewhere:/state" in refused.stderr


def test_an_unreachable_registry_is_told_and_does_not_stop_the_gateway(tmp_path: Path) -> None:
    """Serving must not depend on it."""
    flags = ("--registry", "http://127.0.0.1:1")
    with running_gateway(tmp_path / "state", home=tmp_path, flags=flags) as running:
        eventually(lambda: "the registry at 127.0.0.1:1 does not answer" in running.output, what="the warning")
        with running.admin as admin:
            assert admin.models() == []
            with pytest.raises(GatewayRefusal, match="unavailable"):
                admin.register("add", add(1.0))


def test_no_process_of_it_is_marked_to_go_first_when_a_neighbour_fills_the_memory(gateway: RunningGateway) -> None:
    """Ray would kill routers and replicas, all at once; the kernel is to pick whoever takes the most."""
    scores = {Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in gateway.processes()}
    assert scores == {Path("/proc/self/oom_score_adj").read_text()}
    assert "MemoryMonitor disabled" in (gateway.state_dir / "logs/ray/raylet.out").read_text()


def test_a_killed_valkey_is_brought_back_and_traffic_does_not_notice(gateway: RunningGateway) -> None:
    """Routers go on with the policies that they have; admin writes work again once it is there."""
    with gateway.admin as admin:
        admin.register("robust", add(1.0))
    gateway.route("robust", ("stable", 1, 10_000))
    os.kill(next(pid for pid, title in gateway.processes().items() if "valkey-server" in title), signal.SIGKILL)
    assert [answer(gateway, "robust") for _ in range(20)] == [[2, 3, 4, 5]] * 20

    def is_writable() -> bool:
        try:
            return bool(gateway.route("robust", ("steady", 1, 10_000))["revision"] == 2)
        except GatewayRefusal as refusal:
            if refusal.status != 503:
                raise
            return False

    eventually(is_writable, what="the policy store to come back")


def test_a_killed_gateway_leaves_no_process_and_starts_again_with_models_policies_and_traffic(
    fresh: RunningGateway,
) -> None:
    """SIGKILL, as when memory is short: everything ends with it; the next one on the same state goes on."""
    with fresh.admin as admin:
        admin.register("add", add(1.0))
        admin.register("add", add(2.0))
    before = fresh.route("add", ("stable", 1, 6_000), ("canary", 2, 4_000), sticky={"by": "header", "name": "x-user"})
    users = [f"user-{number}" for number in range(20)]
    expected = [answer(fresh, "add", headers={"x-user": user}) for user in users]
    with fresh.admin as admin:
        logged = admin.log()["requests"]
    fresh.kill()
    eventually(lambda: not fresh.processes(), timeout_s=15.0, what="processes to end with their gateway")

    assert list((fresh.state_dir / "logs" / "ray").glob("raylet.*")), "Ray's logs are there to say why"

    fresh.launch()
    fresh.wait_until_ready()
    assert list((fresh.state_dir / "logs" / "ray.before").glob("raylet.*"))
    assert [answer(fresh, "add", headers={"x-user": user}) for user in users] == expected
    with fresh.admin as admin:
        policy = admin.policy("add")
        assert policy is not None
        assert policy.document["revision"] == before["revision"]
        assert admin.log()["requests"] == logged + len(users)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own
def test_a_version_that_does_not_answer_its_golden_example_says_so_and_gets_no_traffic(
    gateway: RunningGateway,
) -> None:
    """The policy that names it is refused with the reason, and what was before goes on."""
    with gateway.admin as admin:
        admin.register("strict", add(1.0))
        admin.register("strict", random_noise(), tags={"shepherd.golden_rtol": "inf"})
    registry = MlflowClient(f"sqlite:///{gateway.state_dir / 'registry' / 'mlflow.db'}")
    registry.set_model_version_tag("strict", "2", "shepherd.golden_rtol", "0.001")
    gateway.route("strict", ("stable", 1, 10_000))
    with pytest.raises(GatewayRefusal, match=r"version 2 is failed: golden check failed: output '\w+' differs"):
        gateway.route("strict", ("stable", 1, 5_000), ("canary", 2, 5_000))
    broken = gateway.version("strict", 2)
    assert broken["state"] == "failed"
    assert broken["reason"].startswith("golden check failed")
    assert [answer(gateway, "strict") for _ in range(20)] == [[2, 3, 4, 5]] * 20


def test_a_version_whose_file_was_changed_after_registration_is_refused(gateway: RunningGateway) -> None:
    """By its digest, before anything of it is loaded."""
    with gateway.admin as admin:
        admin.register("forged", add(1.0))
    files = (gateway.state_dir / "registry" / "artifacts").rglob("*.onnx")
    max(files, key=lambda file: file.stat().st_mtime_ns).write_bytes(add(2.0))
    with pytest.raises(GatewayRefusal, match="sha256"):
        gateway.route("forged", ("stable", 1, 10_000))


def test_control_that_is_killed_comes_back_and_goes_on(gateway: RunningGateway) -> None:
    """Traffic does not notice; the admin API answers again, with versions and their replicas."""
    with gateway.admin as admin:
        admin.register("steady", add(1.0))
    gateway.route("steady", ("stable", 1, 10_000))
    control = next(pid for pid, title in gateway.processes().items() if ":control:" in title)
    os.kill(control, signal.SIGKILL)
    assert [answer(gateway, "steady") for _ in range(20)] == [[2, 3, 4, 5]] * 20

    def is_back() -> bool:
        try:
            return bool(gateway.version("steady", 1)["replicas"])
        except (GatewayUnreachable, GatewayRefusal):  # not there yet
            return False

    eventually(is_back, what="control to come back")
    assert gateway.version("steady", 1)["state"] == "ready"
