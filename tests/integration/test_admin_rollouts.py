"""Rollouts, rollback, batches, idempotency keys and tokens over the admin API, with no controller behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from router.admin.operations import Role
from router.policy.audit import verify_chain
from router.rollout.phase import Phase
from tests.admin import MODEL, AdminWorld
from tests.rollouts import at

pytestmark = pytest.mark.asyncio
POLICY = f"/admin/v1/policies/{MODEL}"
ROLLOUT = f"/admin/v1/rollouts/{MODEL}"
BATCH = "/admin/v1/policies:batch"
START = {"version": 2, "steps": [1000, 10_000], "reason": "a better model"}
WHY = {"reason": "because"}


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


def settled(version: int, **more: Any) -> dict[str, Any]:
    """A policy's body with one version."""
    return {
        "variants": [{"name": "stable", "version": version, "weight": 10_000}],
        "reason": f"version {version}",
        **more,
    }


async def write(client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    """Write a policy whatever stands."""
    standing = await client.get(POLICY)
    condition = {"If-Match": standing.headers["etag"]} if standing.is_success else {"If-None-Match": "*"}
    answer = await client.put(POLICY, json=body, headers=condition)
    assert answer.is_success, answer.text
    return answer


async def test_a_rollout_is_started_shown_and_handed_to_the_controller(world: AdminWorld) -> None:
    """Its version is made ready first, and the act is in the audit log."""
    async with world.client() as client:
        await write(client, settled(1))
        answer = await client.post(ROLLOUT, json=START)
        shown = (await client.get(ROLLOUT)).json()
        listed = (await client.get("/admin/v1/rollouts")).json()

    assert answer.status_code == 201, answer.text
    assert (shown["phase"], shown["version"], shown["stable_version"], shown["share_bp"]) == ("pending", 2, 1, 0)
    assert shown["plan"]["steps"] == [1000, 10_000]
    assert [each["model"] for each in listed["rollouts"]] == [MODEL]
    assert world.nudges == 1
    assert world.versions.statuses[MODEL, 2].state == "ready"
    entries = await world.store.audit()
    assert [entry.action for entry in entries] == ["policy.put", "rollout.start"]
    assert verify_chain(entries) is None


async def test_a_dry_run_shows_the_shares_and_starts_nothing(world: AdminWorld) -> None:
    """The control arm is as large as the canary."""
    async with world.client() as client:
        await write(client, settled(1))
        answer = (await client.post(ROLLOUT, json=START, params={"dry_run": True})).json()
        assert answer["shares"][0] == {"canary": 1000, "control": 1000, "rest": 8000}
        assert (await client.get(ROLLOUT)).status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"version": 9}, 404, "9"),
        ({"version": 3}, 409, "golden check"),
        ({"version": 1}, 400, "version"),
        ({"version": "two"}, 400, "version"),
        ({"steps": [500, 100]}, 400, "steps[1]"),
        ({"steps": [0]}, 400, "steps[0]"),
        ({"checks": ["eror_rate"]}, 400, "checks[0]"),
        ({"min_request": 5}, 400, "min_request"),
        ({"gates": [{"kind": "event", "url": "file:///etc"}]}, 400, "gates[0].url"),
        ({"reason": " "}, 400, "reason"),
    ],
)
async def test_a_wrong_rollout_is_refused_by_the_field(
    world: AdminWorld, change: dict[str, Any], status: int, word: str
) -> None:
    """And leaves nothing behind."""
    async with world.client() as client:
        await write(client, settled(1))
        answer = await client.post(ROLLOUT, json=START | change)
        assert (answer.status_code, word in answer.json()["detail"]) == (status, True), answer.text
        assert (await client.get(ROLLOUT)).status_code == 404


async def test_one_rollout_at_a_time(world: AdminWorld) -> None:
    """A second is refused until the first is over."""
    async with world.client() as client:
        await write(client, settled(1))
        await client.post(ROLLOUT, json=START)
        assert (await client.post(ROLLOUT, json=START)).status_code == 409
        assert (await client.post(f"{ROLLOUT}/abort", json=WHY)).json()["phase"] == "aborted"
        assert (await client.post(ROLLOUT, json=START)).status_code == 201
        assert len((await client.get(f"{ROLLOUT}/history")).json()["rollouts"]) == 1


async def test_after_a_rollback_a_model_is_frozen_for_a_while(world: AdminWorld) -> None:
    """Nobody's script flaps; `force` is a decision."""
    async with world.client() as client:
        await write(client, settled(1))
        await client.post(ROLLOUT, json=START)
        rollout = await world.rollouts.get(MODEL)
        assert rollout is not None
        await world.rollouts.put(at(rollout, phase=Phase.FAILED, step=0, ended_at=rollout.created_at))

        refused = await client.post(ROLLOUT, json=START)
        forced = await client.post(ROLLOUT, json=START | {"force": True})

    assert (refused.status_code, "frozen_until" in refused.json()) == (409, True)
    assert forced.status_code == 201


async def test_an_act_without_a_place_is_409_and_says_what_has(world: AdminWorld) -> None:
    """The table of phases speaks."""
    async with world.client() as client:
        assert (await client.post(f"{ROLLOUT}/pause", json=WHY)).status_code == 404
        await write(client, settled(1))
        await client.post(ROLLOUT, json=START)
        answer = await client.post(f"{ROLLOUT}/pause", json=WHY)
        assert answer.status_code == 409
        assert "abort" in answer.json()["detail"]


async def test_rollback_goes_to_before_the_canary_and_not_into_it_again(world: AdminWorld) -> None:
    """Also when it is called twice."""
    async with world.client() as client:
        await write(client, settled(4))
        await write(client, settled(1))
        for weight in (1000, 5000):
            shares = [("stable", 1, 10_000 - weight), ("canary", 2, weight)]
            variants = [dict(zip(("name", "version", "weight"), share, strict=True)) for share in shares]
            await write(client, {"variants": variants, "reason": "canary"})

        first = (await client.post(f"{POLICY}/rollback", json=WHY)).json()
        second = (await client.post(f"{POLICY}/rollback", json=WHY)).json()
        third = await client.post(f"{POLICY}/rollback", json=WHY)

    assert [(v["version"], v["weight"]) for v in first["variants"]] == [(1, 10_000)]
    assert (first["revision"], first["restores"]) == (5, 2)
    assert [(v["version"], v["weight"]) for v in second["variants"]] == [(4, 10_000)]
    assert third.status_code == 409


async def test_undo_brings_back_any_revision_also_of_a_removed_policy(world: AdminWorld) -> None:
    """Without a number: the one before."""
    async with world.client() as client:
        for version in (1, 2, 4):
            etag = (await write(client, settled(version))).headers["etag"]
        assert (await client.post(f"{POLICY}/undo", json=WHY)).json()["variants"][0]["version"] == 2
        assert (await client.post(f"{POLICY}/undo", json=WHY | {"revision": 1})).json()["variants"][0]["version"] == 1
        assert (await client.post(f"{POLICY}/undo", json=WHY | {"revision": 77})).status_code == 404
        etag = (await client.get(POLICY)).headers["etag"]
        await client.delete(POLICY, headers={"If-Match": etag, "X-Shepherd-Reason": "gone"})
        again = await client.post(f"{POLICY}/undo", json=WHY)
    assert (again.status_code, again.json()["revision"], again.json()["restores"]) == (200, 6, 5)


async def test_a_dry_run_tells_what_a_change_would_do(world: AdminWorld) -> None:
    """Share of keys that move, versions to load; nothing is loaded."""
    async with world.client() as client:
        etag = (await write(client, settled(1))).headers["etag"]
        body = {
            "variants": [
                {"name": "stable", "version": 1, "weight": 8000},
                {"name": "canary", "version": 2, "weight": 2000},
            ],
            "reason": "try",
        }
        answer = (await client.put(POLICY, json=body, headers={"If-Match": etag}, params={"dry_run": True})).json()
        assert (await client.get(POLICY)).headers["etag"] == etag
    assert answer["impact"]["moved_share"] == pytest.approx(0.2, abs=0.03)
    assert answer["impact"]["versions_to_load"] == [2]
    assert answer["impact"]["model_bytes"] == 2000
    assert 2 not in world.versions.asked


async def test_several_models_change_together_or_not_at_all(world: AdminWorld) -> None:
    """One wrong revision, and none of them changes."""
    body = settled(1)
    del body["reason"]
    async with world.client() as client:
        entry = {"model": MODEL, "revision": 0, "policy": body}
        made = await client.post(BATCH, json={"changes": [entry]} | WHY)
        stale = await client.post(BATCH, json={"changes": [entry]} | WHY)
        named = await client.post(BATCH, json={"changes": [entry | {"policy": {"variants": []}}]} | WHY)
        removed = await client.post(BATCH, json={"changes": [{"model": MODEL, "revision": 1}]} | WHY)
    assert made.json()["policies"][0]["revision"] == 1
    assert stale.status_code == 412
    assert (named.status_code, named.json()["detail"].startswith("changes[0].policy.variants")) == (400, True)
    assert removed.json()["removed"] == [MODEL]
    async with world.client(Role.OPERATOR) as client:
        assert (await client.post(BATCH, json={"changes": [{"model": MODEL, "revision": 1}]} | WHY)).status_code == 403


async def test_the_same_key_gives_the_same_answer_and_does_it_once(world: AdminWorld) -> None:
    """Also to a precondition that no longer holds, since it is the same request."""
    headers = {"If-None-Match": "*", "Idempotency-Key": "k1"}
    async with world.client() as client:
        first = await client.put(POLICY, json=settled(1), headers=headers)
        again = await client.put(POLICY, json=settled(1), headers=headers)
        other = await client.put(POLICY, json=settled(2), headers=headers)
        strange = await client.put(POLICY, json=settled(2), headers=headers | {"Idempotency-Key": " "})
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, strange.status_code) == (422, 400)
    assert len(await world.store.audit()) == 1


async def test_a_refusal_does_not_spend_a_key(world: AdminWorld) -> None:
    """Nothing was changed, so the same request may succeed later under it."""
    headers = {"If-Match": '"1"', "Idempotency-Key": "k1"}
    async with world.client() as client:
        assert (await client.put(POLICY, json=settled(1), headers=headers)).status_code == 412
        await write(client, settled(2))
        assert (await client.put(POLICY, json=settled(1), headers=headers)).status_code == 200


async def test_a_key_belongs_to_its_caller(world: AdminWorld) -> None:
    """Nobody reads another's answer by guessing keys."""
    headers = {"If-None-Match": "*", "Idempotency-Key": "k1"}
    async with world.client() as client:
        await client.put(POLICY, json=settled(1), headers=headers)
    async with world.client(Role.OPERATOR) as client:
        assert (await client.put(POLICY, json=settled(1), headers=headers)).status_code == 412


async def test_tokens_come_and_go_with_an_entry_in_the_audit_log(world: AdminWorld) -> None:
    """The log names who and what, never the token."""
    async with world.client() as client:
        made = await client.put("/admin/v1/tokens/ben", json={"role": "operator"})
        wrong = await client.put("/admin/v1/tokens/ben", json={"role": "king"})
        own = await client.put("/admin/v1/tokens/monitor", json={"role": "operator"})
        names = [each["name"] for each in (await client.get("/admin/v1/tokens")).json()["tokens"]]
        gone = await client.delete("/admin/v1/tokens/ben")
        missing = await client.delete("/admin/v1/tokens/ben")
    assert made.status_code == 201
    assert (wrong.status_code, own.status_code, gone.status_code, missing.status_code) == (400, 400, 204, 404)
    assert "ben" in names
    entries = await world.store.audit()
    assert [entry.action for entry in entries] == ["token.add", "token.remove"]
    assert made.json()["token"] not in str(entries)
    async with world.client(Role.OPERATOR) as client:
        assert (await client.get("/admin/v1/tokens")).status_code == 403
