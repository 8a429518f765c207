"""The admin port is closed to everybody without a token, to pages of other origins, and to every unlisted operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from router.admin import api
from router.admin.guard import GuardedRoute
from router.admin.operations import OPERATIONS, Role
from tests.admin import MODEL, AdminWorld, policy_body

pytestmark = pytest.mark.asyncio

ROUTES = [
    (method, route.path.format(model=MODEL, version=1, name="page.css"), route.name)
    for router in api.ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]
PROTECTED = [(method, path, name) for method, path, name in ROUTES if OPERATIONS[name].role is not None]
each_protected = pytest.mark.parametrize(("method", "path", "name"), PROTECTED)


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


async def test_every_route_has_rights_and_every_right_a_route() -> None:
    """The table and the API are one list."""
    assert {name for _, _, name in ROUTES} == set(OPERATIONS)


async def test_an_operation_without_rights_cannot_be_built_in() -> None:
    """Forgetting the table ends the start, not the safety."""
    router = APIRouter(route_class=GuardedRoute)
    router.add_api_route("/new", lambda: None, name="new_operation")
    with pytest.raises(RuntimeError, match="new_operation"):
        api._require_rights([router])


@each_protected
async def test_without_a_token_it_is_401(world: AdminWorld, method: str, path: str, name: str) -> None:
    """Also with a scheme or a token that is none; the answer says which scheme."""
    async with world.client(role=None) as client:
        for authorization in ({}, {"Authorization": "Bearer "}, {"Authorization": "Basic YTpi"}):
            answer = await client.request(method, path, headers=authorization)
            assert (answer.status_code, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer")


@each_protected
async def test_a_wrong_token_is_401(world: AdminWorld, method: str, path: str, name: str) -> None:
    """One character off is as wrong as any."""
    wrong = world.admin_token[:-1] + ("a" if world.admin_token[-1] != "a" else "b")
    async with world.client(role=None) as client:
        answer = await client.request(method, path, headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 401


@each_protected
async def test_a_role_below_the_operations_is_403(world: AdminWorld, method: str, path: str, name: str) -> None:
    """And the role itself passes: whatever comes then, it is not about rights."""
    needed = OPERATIONS[name].role
    assert needed is not None
    for role in Role:
        async with world.client(role) as client:
            status = (await client.request(method, path)).status_code
        assert (status == 403) == (role < needed)


@pytest.mark.parametrize(
    "path",
    [
        "/ADMIN/v1/policies",
        "//admin/v1/policies",
        "/admin/v1//policies",
        "/admin/v1/policies/..%2f..%2fstatus",
        "/admin/v1/policies%2f",
        "/admin/v1/policies.",
        "/static/..%2fapi.py",
        "/static/%2e%2e/api.py",
        "/docs/../admin/v1/policies",
    ],
)
async def test_no_spelling_of_a_path_goes_round_the_check(world: AdminWorld, path: str) -> None:
    """An alias is unknown, or the same operation with the same rights."""
    async with world.client(role=None) as client:
        assert (await client.get(path)).status_code in {401, 404, 405, 307}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "a@127.0.0.1", "[::1", ""])
async def test_a_foreign_host_is_refused(world: AdminWorld, host: str) -> None:
    """A page that points its own name at loopback (DNS rebinding) carries that name."""
    async with world.client() as client:
        answer = await client.get("/admin/v1/status", headers={"Host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "[::1]:8080", "gateway.example:443"])
async def test_loopback_and_configured_hosts_are_served(world: AdminWorld, host: str) -> None:
    """With any port, in any case."""
    async with world.client() as client:
        assert (await client.get("/admin/v1/status", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://[", ""])
async def test_a_page_of_another_origin_is_refused(world: AdminWorld, method: str, origin: str) -> None:
    """Whatever the method, and although it has a token."""
    async with world.client() as client:
        answer = await client.request(method, f"/admin/v1/policies/{MODEL}", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_our_own_page_is_served(world: AdminWorld) -> None:
    """Same origin, same host."""
    async with world.client() as client:
        answer = await client.get("/admin/v1/status", headers={"Origin": "http://127.0.0.1:8080"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/admin/v1/status", "/nowhere", "/static/page.css"])
async def test_every_answer_carries_the_safe_headers(world: AdminWorld, path: str) -> None:
    """No inline script, no frame, no guessing of types, nothing kept by caches."""
    async with world.client(role=None) as client:
        headers = (await client.get(path)).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


async def test_a_body_over_the_limit_is_413_whether_announced_or_not(world: AdminWorld) -> None:
    """Nobody makes the gateway hold a gigabyte by calling it a policy."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b'"' + b"x" * 65_536

    async with world.client() as client:
        url, json = f"/admin/v1/policies/{MODEL}", {"Content-Type": "application/json", "If-None-Match": "*"}
        announced = await client.put(url, content=b'"' + b"x" * (2 << 20), headers=json)
        streamed = await client.put(url, content=endless(), headers=json)
    assert (announced.status_code, streamed.status_code) == (413, 413)


async def test_strangers_cannot_make_the_gateway_read_a_body(world: AdminWorld) -> None:
    """The token is checked before the first byte is received."""
    pulled = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pulled
        pulled += 1
        yield b"{}"

    async with world.client(role=None) as client:
        answer = await client.put("/admin/v1/policies/m", content=body(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 401
    assert pulled == 0


async def test_the_actor_is_the_token_and_cannot_be_claimed(world: AdminWorld) -> None:
    """The audit log names who held the token, whatever the body says."""
    async with world.client(Role.OPERATOR) as client:
        body = policy_body() | {"actor": "admin"}
        answer = await client.put(f"/admin/v1/policies/{MODEL}", json=body, headers={"If-None-Match": "*"})
        assert answer.json()["actor"] == "ada"
        entries = (await client.get("/admin/v1/audit")).json()["entries"]
    assert [entry["actor"] for entry in entries] == ["ada"]


async def test_a_token_that_was_removed_ends_at_once(world: AdminWorld) -> None:
    """Without a restart, and while others go on."""
    async with world.client(Role.VIEWER) as viewer, world.client() as admin:
        assert (await viewer.get("/admin/v1/log")).status_code == 200
        await asyncio.to_thread(world.tokens.remove, "vera")
        assert (await viewer.get("/admin/v1/log")).status_code == 401
        assert (await admin.get("/admin/v1/log")).status_code == 200


async def test_wrong_kinds_of_body_are_415(world: AdminWorld) -> None:
    """A form, which any page can send without asking, is never taken for a write."""
    async with world.client() as client:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
            headers = {"Content-Type": kind, "If-None-Match": "*"}
            answer = await client.put(f"/admin/v1/policies/{MODEL}", content=b"{}", headers=headers)
            assert answer.status_code == 415
