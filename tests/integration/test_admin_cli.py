"""The command line against a live admin API: what operators type, what scripts rely on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from router.cli.client import AdminClient
from router.cli.location import find_node
from router.cli.main import cli
from tests import models
from tests.admin import MODEL, AdminWorld, serving
from tests.command_line import Shepherd, json_of, shepherd_on


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


@pytest.fixture
def shepherd(world: AdminWorld) -> Iterator[Shepherd]:
    """Run a command on the state directory of a live admin API."""
    with shepherd_on(world) as run:
        yield run


def set_traffic(shepherd: Shepherd, *shares: str) -> Any:
    """Move traffic and give the policy that stands then."""
    return json_of(shepherd("traffic", "set", MODEL, *shares, "--reason", "test", "-o", "json"))


def test_the_first_traffic_set_makes_the_policy(shepherd: Shepherd) -> None:
    """name=version:percent, two decimals allowed."""
    policy = set_traffic(shepherd, "stable=1:90.01%", "canary=2:9.99%")
    assert [variant["weight"] for variant in policy["variants"]] == [9001, 999]
    assert (policy["revision"], policy["actor"], policy["reason"]) == (1, "admin", "test")


def test_moving_traffic_keeps_key_and_shadows(shepherd: Shepherd) -> None:
    """Only the variants change, so no key moves for another reason."""
    first = ["traffic", "set", MODEL, "stable=1:100%", "--sticky", "header:x-user-id", "--reason", "a", "-o", "json"]
    sticky = json_of(shepherd(*first))["sticky"]
    json_of(shepherd("shadow", "add", MODEL, "--version", "4", "--sample", "20%", "-o", "json"))
    policy = set_traffic(shepherd, "stable=1:50%", "canary=2:50%")
    assert (policy["sticky"], policy["shadows"][0]["sample"]) == (sticky, 2000)


def test_a_shadow_is_added_changed_and_removed(shepherd: Shepherd) -> None:
    """What is not named stays; the audit log tells the change even when nobody gave a reason."""
    set_traffic(shepherd, "stable=1:100%")
    json_of(shepherd("shadow", "add", MODEL, "--version", "4", "--sample", "20%", "--timeout-ms", "80", "-o", "json"))
    policy = json_of(shepherd("shadow", "add", MODEL, "--version", "4", "--sample", "0.5%", "-o", "json"))
    assert [(rule["sample"], rule["timeout_ms"]) for rule in policy["shadows"]] == [(50, 80)]
    policy = json_of(shepherd("shadow", "remove", MODEL, "--version", "4", "-o", "json"))
    assert not policy.get("shadows")
    assert "version 4" in policy["reason"]
    assert shepherd("shadow", "remove", MODEL, "--version", "4").exit_code == 1


def test_traffic_is_shown_for_one_model_and_for_all(shepherd: Shepherd) -> None:
    """A table for people, documents for programs."""
    set_traffic(shepherd, "stable=1:95%", "canary=2:5%")
    assert json_of(shepherd("traffic", "show", MODEL, "-o", "json"))["revision"] == 1
    assert len(json_of(shepherd("traffic", "show", "-o", "json"))) == 1
    table = shepherd("traffic", "show", MODEL).output
    assert all(word in table for word in ("stable", "95%", "canary", "5%", "request_id"))
    assert shepherd("traffic", "show", "none").exit_code == 1


def test_explain_tells_where_a_request_goes_and_why(shepherd: Shepherd) -> None:
    """The same answer as the API's."""
    set_traffic(shepherd, "stable=1:100%")
    answer = json_of(shepherd("traffic", "explain", MODEL, "--header", "x-user-id: 7", "-o", "json"))
    assert (answer["variant"], answer["reason"]) == ("stable", "only")
    assert "stable" in shepherd("traffic", "explain", MODEL, "--version", "1").output


def test_explain_shows_rules_bids_and_shadows_to_people(shepherd: Shepherd, world: AdminWorld) -> None:
    """Also a dark launch, which bids nothing, and a rule that does not match."""
    rules = [{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "dark"}]
    shares = ["stable=1:60%", "canary=2:40%", "dark=4:0%"]
    set_traffic(shepherd, *shares)
    with AdminClient(find_node(world.state_dir).admin, world.admin_token) as client:
        client.patch_policy(MODEL, {"rules": rules, "shadows": [{"version": 4}]}, "rules", '"1"')
    usual = shepherd("traffic", "explain", MODEL).output
    assert all(words in usual for words in ("does not match", "dark at 0% bids nothing", "version 4 at 100%: copied"))
    assert "-> dark" in shepherd("traffic", "explain", MODEL, "--header", "x-cohort:beta").output


@pytest.mark.parametrize(
    "shares", [["stable=1:90%"], ["stable=1:90%", "canary=2:20%"], ["stable:1=100%"], ["stable=1:99.999%"]]
)
def test_wrong_shares_are_a_usage_error(shepherd: Shepherd, world: AdminWorld, shares: list[str]) -> None:
    """Exit code 2, and the gateway is not asked."""
    result = shepherd("traffic", "set", MODEL, *shares, "--reason", "test")
    assert result.exit_code == 2
    assert world.versions.asked == []


def test_a_version_that_fails_is_exit_code_1_with_the_reason(shepherd: Shepherd) -> None:
    """On stderr, in one line, and the traffic stays."""
    set_traffic(shepherd, "stable=1:100%")
    result = shepherd("traffic", "set", MODEL, "stable=1:90%", "canary=3:10%", "--reason", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "golden check" in result.stderr
    assert json_of(shepherd("traffic", "show", MODEL, "-o", "json"))["revision"] == 1


def test_a_write_that_came_too_late_is_exit_code_4(
    shepherd: Shepherd, world: AdminWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script may tell it from every other failure, read again and retry."""
    set_traffic(shepherd, "stable=1:100%")
    read = AdminClient.policy

    def read_then_be_overtaken(client: AdminClient, model: str) -> Any:
        standing = read(client, model)
        assert standing is not None
        client.patch_policy(model, {"variants": standing.document["variants"]}, "faster", standing.etag)
        return standing

    monkeypatch.setattr(AdminClient, "policy", read_then_be_overtaken)
    result = shepherd("traffic", "set", MODEL, "stable=1:100%", "--reason", "slower")
    assert result.exit_code == 4
    assert "revision 2 is in force" in result.stderr


def test_no_gateway_is_exit_code_3(tmp_path: Path) -> None:
    """Told from refusals, so that a script may wait."""
    for arguments in (
        ["status", "--state", str(tmp_path)],
        ["status", "--url", "http://127.0.0.1:1", "--token", "x"],
        ["infer", "m", "--data", "{}", "--url", "http://127.0.0.1:1"],
    ):
        result = CliRunner(env={"SHEPHERD_STATE": str(tmp_path)}).invoke(cli, arguments)
        assert result.exit_code == 3, result.output


def test_a_wrong_setting_is_exit_code_2(tmp_path: Path) -> None:
    """With the name that was meant."""
    result = CliRunner(env={"SHEPHERD_HTP_PORT": "1"}).invoke(cli, ["status", "--state", str(tmp_path)])
    assert result.exit_code == 2
    assert "SHEPHERD_HTTP_PORT" in result.stderr


def test_address_and_token_go_round_the_state_directory(world: AdminWorld, tmp_path: Path) -> None:
    """From another machine; a wrong token is a refusal."""
    with serving(world.app) as url:
        run = CliRunner(env={"SHEPHERD_STATE": str(tmp_path / "none")}).invoke
        right = run(cli, ["log", "stats", "--url", url, "--token", world.admin_token, "-o", "json"])
        wrong = run(cli, ["log", "stats", "--url", url, "--token", "guess"])
    assert json_of(right)["requests"] == 12
    assert (wrong.exit_code, "token" in wrong.stderr) == (1, True)


def test_a_model_is_registered_through_the_running_gateway(shepherd: Shepherd, tmp_path: Path) -> None:
    """The version is printed, alone: `V=$(shepherd model register …)`."""
    (tmp_path / "model.onnx").write_bytes(models.add_one())
    (tmp_path / "example.json").write_text('{"inputs": []}')
    arguments = ["model", "register", str(tmp_path / "model.onnx"), "--name", MODEL]
    assert shepherd(*arguments, "--example", str(tmp_path / "example.json"), "--tag", "git=abc").output.strip() == "5"
    assert json_of(shepherd(*arguments, "-o", "json")) == {"name": MODEL, "version": 6}
    shown = json_of(shepherd("model", "show", MODEL, "--version", "5", "-o", "json"))
    assert shown["versions"][0]["lineage"]["example"] == '{"inputs": []}'


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own
def test_a_model_is_registered_without_a_gateway(tmp_path: Path) -> None:
    """Straight into the registry of the state directory, which `up` finds there later."""
    (tmp_path / "model.onnx").write_bytes(models.add_one())
    (tmp_path / "broken.onnx").write_bytes(models.not_a_model())
    run = CliRunner(env={"SHEPHERD_STATE": str(tmp_path / "state"), "SHEPHERD_URL": None}).invoke
    for version in (1, 2):
        result = run(cli, ["model", "register", str(tmp_path / "model.onnx"), "--name", "plus", "-o", "json"])
        assert json_of(result) == {"name": "plus", "version": version}
    refused = run(cli, ["model", "register", str(tmp_path / "broken.onnx"), "--name", "plus"])
    assert refused.exit_code == 1
    assert "Traceback" not in refused.output


def test_models_are_listed_with_their_state(shepherd: Shepherd) -> None:
    """A version that serves shows its process."""
    set_traffic(shepherd, "stable=1:100%")
    (model,) = json_of(shepherd("model", "list", "-o", "json"))
    assert len(model["versions"]) == 4
    table = shepherd("model", "list").output
    assert all(word in table for word in ("ready", "4001", "absent"))
    assert shepherd("model", "show", "none").exit_code == 1


def test_status_shows_the_whole_gateway(shepherd: Shepherd, world: AdminWorld) -> None:
    """Also while the policy store is away, and then says so."""
    set_traffic(shepherd, "stable=1:100%")
    shepherd("traffic", "set", MODEL, "stable=3:100%", "--reason", "x")
    shown = shepherd("status").output
    assert all(word in shown for word in ("4711", "ready", "failed", "golden", "stable", "100%", "12"))
    assert json_of(shepherd("status", "-o", "json"))["gateway"]["pid"] == 4711
    world.store.away = True
    world.accounting.away = True
    assert "Input/output error" in shepherd("status").output
    assert "Redis" in shepherd("status").output


def test_the_audit_log_is_shown_and_verified(shepherd: Shepherd, world: AdminWorld) -> None:
    """The chain is recomputed by the reader; a changed entry is found by number."""
    set_traffic(shepherd, "stable=1:100%")
    set_traffic(shepherd, "stable=2:100%")
    assert [entry["seq"] for entry in json_of(shepherd("audit", "-o", "json"))] == [1, 2]
    assert [entry["seq"] for entry in json_of(shepherd("audit", "-n", "1", "-o", "json"))] == [2]
    assert json_of(shepherd("audit", "--verify", "-o", "json"))["whole"]
    world.store._audit[0] = msgspec.structs.replace(world.store._audit[0], actor="mallory")
    result = shepherd("audit", "--verify")
    assert (result.exit_code, "entry 1" in result.stderr) == (1, True)


def test_tokens_are_made_used_and_taken_away(shepherd: Shepherd, world: AdminWorld) -> None:
    """A viewer may look and not touch."""
    made = json_of(shepherd("token", "add", "grace", "--role", "viewer", "-o", "json"))["token"]
    assert shepherd("log", "stats", "--token", made).exit_code == 0
    refused = shepherd("traffic", "set", MODEL, "stable=1:100%", "--reason", "x", "--token", made)
    assert (refused.exit_code, "operator" in refused.stderr) == (1, True)
    assert {"name": "grace", "role": "viewer"} in json_of(shepherd("token", "list", "-o", "json"))
    assert shepherd("token", "remove", "grace").exit_code == 0
    assert shepherd("log", "stats", "--token", made).exit_code == 1
    assert shepherd("token", "remove", "grace").exit_code == 1
    assert shepherd("token", "add", "admin").exit_code == 1
    assert "the gateway itself writes as monitor" in shepherd("token", "add", "monitor").stderr


@pytest.fixture
def front_door() -> Iterator[str]:
    """A V2 front door that doubles its input and says how it went."""

    async def infer(request: Request) -> JSONResponse:
        body = await request.json()
        if "inputs" not in body:
            return JSONResponse({"error": "inputs: missing"}, 400)
        data = [2 * value for value in body["inputs"][0]["data"]]
        output = {"name": "y", "datatype": "FP32", "shape": [len(data)], "data": data}
        version = request.path_params.get("version", 1)
        way = {"x-shepherd-version": str(version), "x-shepherd-reason": request.headers.get("x-user-id", "only")}
        return JSONResponse({"model_name": "double", "outputs": [output]}, headers=way)

    routes = [
        Route("/v2/models/double/infer", infer, methods=["POST"]),
        Route("/v2/models/double/versions/{version:int}/infer", infer, methods=["POST"]),
    ]
    with serving(Starlette(routes=routes)) as url:
        yield url


def test_infer_shows_the_answer_and_the_way_it_took(front_door: str, tmp_path: Path) -> None:
    """The request from the argument, a file or stdin; headers reach the gateway, its own come back."""
    request = '{"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}'
    (tmp_path / "request.json").write_text(request)
    for data in (request, f"@{tmp_path / 'request.json'}", "-"):
        arguments = ["infer", "double", "--data", data, "--url", front_door, "--header", "x-user-id: 7", "-o", "json"]
        answer = json_of(CliRunner().invoke(cli, arguments, input=request))
        assert answer["response"]["outputs"][0]["data"] == [2, 4]
        assert answer["headers"] == {"x-shepherd-version": "1", "x-shepherd-reason": "7"}
    text = CliRunner().invoke(cli, ["infer", "double", "--data", request, "--url", front_door, "--version", "3"])
    assert all(word in text.output for word in ("y", "[2, 4]", "x-shepherd-version", "3"))


def test_infer_passes_on_the_gateways_error(front_door: str) -> None:
    """Exit code 1, and the message as it came."""
    result = CliRunner().invoke(cli, ["infer", "double", "--data", "{}", "--url", front_door])
    assert (result.exit_code, "inputs: missing" in result.stderr) == (1, True)


def test_config_tells_every_value_and_where_it_came_from(tmp_path: Path) -> None:
    """Flag, variable, file, default."""
    (tmp_path / "shepherd.yaml").write_text("keep_alive_s: 5\n")
    arguments = ["config", "--config", str(tmp_path / "shepherd.yaml"), "--routers", "2", "-o", "json"]
    lines = json_of(CliRunner(env={"SHEPHERD_HTTP_PORT": "9000"}).invoke(cli, arguments))
    origins = {line["key"]: (line["value"], line["origin"]) for line in lines}
    assert origins["routers"] == (2, "--routers")
    assert origins["http_port"] == (9000, "SHEPHERD_HTTP_PORT")
    assert origins["keep_alive_s"] == (5.0, str(tmp_path / "shepherd.yaml"))
    assert origins["grpc_port"] == (8001, "default")


def test_doctor_ends_with_1_when_something_is_broken(tmp_path: Path) -> None:
    """And names it; `-o json` gives every finding."""
    arguments = ["doctor", "--state", str(tmp_path), "--redis-url", "redis://127.0.0.1:1/0", "-o", "json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    verdicts = {finding["check"]: finding["verdict"] for finding in json.loads(result.stdout)}
    assert (verdicts["redis"], verdicts["python"]) == ("broken", "ok")
