"""Models, log, audit and status over the admin API; and failures, which are problem documents without exception."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.admin.operations import OPERATIONS, Role
from router.policy.audit import AuditEntry, verify_chain
from router.ports import VersionStatus
from tests.admin import MODEL, AdminWorld, policy_body

pytestmark = pytest.mark.asyncio
CREATE = {"If-None-Match": "*"}


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


async def test_models_are_shown_with_state_reason_and_processes(world: AdminWorld) -> None:
    """A version that failed says why; one that serves names its processes."""
    async with world.client() as client:
        body = policy_body([{"name": "a", "version": 3, "weight": 10_000}])
        await client.put(f"/admin/v1/policies/{MODEL}", json=body, headers=CREATE)
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers=CREATE)
        (model,) = (await client.get("/admin/v1/models")).json()["models"]
        assert [(each["version"], each["state"]) for each in model["versions"]] == [
            (1, "ready"),
            (2, "ready"),
            (3, "failed"),
            (4, "absent"),
        ]
        assert "golden" in model["versions"][2]["reason"]
        assert model["versions"][0]["replicas"][0]["pid"] == 4001
        assert (await client.get(f"/admin/v1/models/{MODEL}")).json() == model
        assert (await client.get(f"/admin/v1/models/{MODEL}/versions/2")).json() == model["versions"][1]


@pytest.mark.parametrize("path", ["models/none", f"models/{MODEL}/versions/9", "policies/none/revisions"])
async def test_what_does_not_exist_is_404_by_name(world: AdminWorld, path: str) -> None:
    """The detail repeats the name, so that a typo is seen."""
    async with world.client() as client:
        answer = await client.get(f"/admin/v1/{path}")
    assert answer.status_code == 404
    assert path.split("/")[1] in answer.json()["detail"]


async def test_a_version_is_registered_with_file_example_and_tags(world: AdminWorld) -> None:
    """The example reaches the registry byte for byte, and the answer says where the version is."""
    body = {"onnx": base64.b64encode(b"\x08\x0amodel").decode(), "example": {"inputs": []}, "tags": {"git": "abc"}}
    async with world.client(Role.OPERATOR) as client:
        answer = await client.post(f"/admin/v1/models/{MODEL}/versions", json=body)
        assert (answer.status_code, answer.json()) == (201, {"name": MODEL, "version": 5})
        shown = (await client.get(answer.headers["location"])).json()
    assert shown["lineage"] == {"bytes": 7, "example": '{"inputs":[]}', "git": "abc"}


@pytest.mark.parametrize("body", ["{}", '{"onnx": "%%"}', '{"onnx": ""}', '{"onnx": "eA==", "colour": 1}', "[", ""])
async def test_a_wrong_registration_is_400(world: AdminWorld, body: str) -> None:
    """And registers nothing."""
    async with world.client() as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post(f"/admin/v1/models/{MODEL}/versions", content=body, headers=headers)
    assert answer.status_code == 400
    assert len(world.versions.statuses) == 4


async def test_a_version_is_loaded_and_unloaded_by_wish(world: AdminWorld) -> None:
    """Load answers when it is ready, unload when it is gone; without a version, the newest and all that may go."""
    async with world.client(Role.OPERATOR) as client:
        loaded = (await client.post(f"/admin/v1/models/{MODEL}/versions/2/load")).json()
        newest = (await client.post(f"/admin/v1/models/{MODEL}/load")).json()
        assert [(each["version"], each["state"]) for each in (loaded, newest)] == [(2, "ready"), (4, "ready")]
        gone = (await client.post(f"/admin/v1/models/{MODEL}/versions/2/unload")).json()
        assert (gone["version"], gone["state"], gone["replicas"]) == (2, "absent", [])
        rest = (await client.post(f"/admin/v1/models/{MODEL}/unload")).json()["versions"]
        assert [(each["version"], each["state"]) for each in rest] == [(4, "absent")]
        assert (await client.post(f"/admin/v1/models/{MODEL}/unload")).json() == {"versions": []}


@pytest.mark.parametrize("path", [f"{MODEL}/versions/1/unload", f"{MODEL}/unload"])
async def test_what_a_policy_names_is_not_unloaded(world: AdminWorld, path: str) -> None:
    """The answer is 409 and says what to do first."""
    async with world.client() as client:
        await client.post(f"/admin/v1/models/{MODEL}/versions/1/load")
        world.versions.named = {1}
        answer = await client.post(f"/admin/v1/models/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        f"a policy names {MODEL} version 1: take it out of the policy first",
    )


async def test_a_version_that_does_not_load_is_409_with_its_reason(world: AdminWorld) -> None:
    """Beside its state."""
    async with world.client() as client:
        answer = await client.post(f"/admin/v1/models/{MODEL}/versions/3/load")
    assert answer.status_code == 409
    assert "golden check" in answer.json()["detail"]
    assert answer.json()["versions"][0]["state"] == "failed"


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("path", ["none", f"{MODEL}/versions/9"])
async def test_loading_what_does_not_exist_is_404(world: AdminWorld, path: str, verb: str) -> None:
    """By name, so that a typo is seen."""
    async with world.client() as client:
        answer = await client.post(f"/admin/v1/models/{path}/{verb}")
    assert answer.status_code == 404
    assert path.partition("/")[0] in answer.json()["detail"]


async def test_the_log_accounts_for_every_request(world: AdminWorld) -> None:
    """The sum of logged, sampled_out and dropped is requests."""
    async with world.client(Role.VIEWER) as client:
        log = (await client.get("/admin/v1/log")).json()
    assert log["requests"] == log["logged"] + log["sampled_out"] + sum(log["dropped"].values())


async def test_status_shows_everything_in_one_answer(world: AdminWorld) -> None:
    """Node, models, policies and accounting belong to one moment."""
    async with world.client(Role.VIEWER) as client:
        status = (await client.get("/admin/v1/status")).json()
    assert set(status) == {"gateway", "models", "policies", "log", "problems"}
    assert status["problems"] == []


async def test_books_that_cannot_be_read_leave_the_rest_of_the_status(world: AdminWorld) -> None:
    """As whatever else is away: that part is null, and a problem says why."""
    world.accounting.away = True
    async with world.client(Role.VIEWER) as client:
        status = await client.get("/admin/v1/status")
        accounting = await client.get("/admin/v1/log")
    assert (status.status_code, status.json()["log"]) == (200, None)
    assert status.json()["models"]
    assert "Input/output error" in status.json()["problems"][0]
    assert (accounting.status_code, "Retry-After" in accounting.headers) == (503, True)


async def test_the_audit_log_can_be_checked_by_its_reader(world: AdminWorld) -> None:
    """Page by page, and whole after the way through JSON."""
    async with world.client() as client:
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers=CREATE)
        for revision in range(1, 5):
            headers = {"If-Match": f'"{revision}"'}
            await client.put(
                f"/admin/v1/policies/{MODEL}", json=policy_body(reason=f"step {revision}"), headers=headers
            )
        entries: list[dict[str, Any]] = []
        position = 0
        while position is not None:
            page = (await client.get("/admin/v1/audit", params={"after_seq": position, "limit": 2})).json()
            entries += page["entries"]
            position = page["next"]
    assert [entry["reason"] for entry in entries] == ["first", "step 1", "step 2", "step 3", "step 4"]
    chain = msgspec.convert(entries, list[AuditEntry])
    assert verify_chain(chain) is None
    chain[2] = msgspec.structs.replace(chain[2], reason="something else")
    assert verify_chain(chain) == 3


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/admin/v1/status", 405),
        ("GET", "/admin/v1/policies?limit=0", 400),
        ("GET", "/admin/v1/policies?limit=many", 400),
        ("GET", "/admin/v1/policies/-wrong-name-", 400),
        ("GET", f"/admin/v1/policies/{'m' * 200}", 400),
        ("GET", f"/admin/v1/models/{MODEL}/versions/0", 400),
        ("GET", f"/admin/v1/models/{MODEL}/versions/one", 400),
        ("POST", f"/admin/v1/policies/{MODEL}/explain", 400),
    ],
)
async def test_every_failure_is_a_problem_document(world: AdminWorld, method: str, path: str, status: int) -> None:
    """RFC 9457: type, title, status, detail; also for what the framework itself refuses."""
    async with world.client() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert all(problem[member] for member in ("type", "title", "detail"))


async def test_a_body_that_is_no_json_object_is_400(world: AdminWorld) -> None:
    """Whatever else it is."""
    async with world.client() as client:
        for content in ("", "{", "[]", "5", "null", '"x"', "\x00", "[" * 100_000):
            headers = CREATE | {"Content-Type": "application/json"}
            answer = await client.put(f"/admin/v1/policies/{MODEL}", content=content, headers=headers)
            assert answer.status_code == 400, content[:10]


async def test_a_defect_of_ours_is_500_with_an_id_and_no_trace(
    world: AdminWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The id finds the trace in the gateway's log; the client sees nothing of it."""

    async def fail() -> Sequence[VersionStatus]:
        raise ZeroDivisionError("secret detail")

    world.versions.versions = fail  # type: ignore[method-assign]
    async with world.client() as client:
        answer = await client.get("/admin/v1/models")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["id"] in caplog.text


async def test_the_api_documents_every_operation(world: AdminWorld) -> None:
    """Each with a summary; without a token, as it tells nothing of this gateway."""
    async with world.client(role=None) as client:
        description: Mapping[str, Any] = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert page.status_code == 200
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    listed = {operation["operationId"] for operation in operations}
    assert listed == {name for name, operation in OPERATIONS.items() if operation.role is not None}
    assert all(operation["description"] for operation in operations)
