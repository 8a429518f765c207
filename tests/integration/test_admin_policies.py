"""Policies over the admin API: nothing is lost between writers, and nothing unready gets traffic."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.admin.operations import Role
from router.policy.actors import HARD_FAILURE_WATCH
from router.policy.document import parse_policy
from router.ports import PolicyChange, VersionStatus
from tests.admin import MODEL, SHARES, AdminWorld, policy_body

pytestmark = pytest.mark.asyncio
URL = f"/admin/v1/policies/{MODEL}"
CREATE = {"If-None-Match": "*"}
STABLE = {"name": "stable", "version": 1, "weight": 10_000}


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


async def create(client: httpx.AsyncClient) -> str:
    """Write the first policy; give its ETag."""
    answer = await client.put(URL, json=policy_body(), headers=CREATE)
    assert answer.status_code == 201, answer.text
    return answer.headers["etag"]


async def test_a_policy_is_created_read_and_replaced_by_its_etag(world: AdminWorld) -> None:
    """The tag of what was read is the key to writing; each write gives the next one."""
    async with world.client() as client:
        etag = await create(client)
        read = await client.get(URL)
        assert (read.headers["etag"], read.json()["revision"], read.json()["actor"]) == (etag, 1, "admin")
        shares = [SHARES[0] | {"weight": 5000}, SHARES[1] | {"weight": 5000}]
        written = await client.put(URL, json=policy_body(shares, reason="half"), headers={"If-Match": etag})
        assert (written.status_code, written.json()["revision"], written.json()["reason"]) == (200, 2, "half")
        assert written.headers["etag"] != etag


async def test_what_was_read_can_be_edited_and_sent_back(world: AdminWorld) -> None:
    """The members that only the gateway writes are ignored in a body."""
    async with world.client() as client:
        etag = await create(client)
        document = (await client.get(URL)).json()
        document["variants"][0]["weight"], document["variants"][1]["weight"] = 8000, 2000
        answer = await client.put(URL, json=document | {"reason": "more"}, headers={"If-Match": etag})
        assert [variant["weight"] for variant in answer.json()["variants"]] == [8000, 2000]


async def test_a_write_without_precondition_is_428(world: AdminWorld) -> None:
    """Nobody overwrites what he has not read."""
    async with world.client() as client:
        for method in ("PUT", "PATCH", "DELETE"):
            answer = await client.request(method, URL, json=policy_body())
            assert answer.status_code == 428
            assert "If-Match" in answer.json()["detail"]


async def test_a_stale_write_is_412_and_tells_the_revision_that_stands(world: AdminWorld) -> None:
    """Of two writers that read the same revision, the second must look again."""
    async with world.client() as client:
        etag = await create(client)
        first = await client.put(URL, json=policy_body(reason="a"), headers={"If-Match": etag})
        second = await client.put(URL, json=policy_body(reason="b"), headers={"If-Match": etag})
        assert (first.status_code, second.status_code) == (200, 412)
        assert second.json()["current_revision"] == 2
        assert (await client.put(URL, json=policy_body(), headers=CREATE)).status_code == 412


async def test_of_writers_at_the_same_moment_exactly_one_wins(world: AdminWorld) -> None:
    """Also when all have passed the check before any has written."""
    async with world.client() as client:
        etag = await create(client)
        answers = await asyncio.gather(
            *(client.put(URL, json=policy_body(reason=str(n)), headers={"If-Match": etag}) for n in range(20))
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
        assert (await client.get(URL)).json()["revision"] == 2


async def test_every_version_is_made_ready_together_before_the_policy_stands(world: AdminWorld) -> None:
    """Variants, dark launches and shadows alike."""
    shares = [*SHARES, {"name": "dark", "version": 4, "weight": 0}]
    async with world.client() as client:
        answer = await client.put(URL, json=policy_body(shares), headers=CREATE)
    assert answer.status_code == 201
    assert sorted(world.versions.asked) == [1, 2, 4]
    assert world.versions.together == 3


@pytest.mark.parametrize("place", ["variant", "shadow"])
async def test_a_version_that_fails_to_load_is_409_with_its_reason_and_changes_nothing(
    world: AdminWorld, place: str
) -> None:
    """The reason is the one that `shepherd status` shows."""
    shares = [SHARES[0], SHARES[1] | {"version": 3}] if place == "variant" else SHARES
    shadows = [{"version": 3}] if place == "shadow" else []
    async with world.client() as client:
        etag = await create(client)
        answer = await client.put(URL, json=policy_body(shares, shadows=shadows), headers={"If-Match": etag})
        assert answer.status_code == 409
        assert "golden check" in answer.json()["detail"]
        assert answer.json()["versions"][0]["version"] == 3
        assert (await client.get(URL)).headers["etag"] == etag


async def test_a_version_that_the_registry_lacks_is_404_and_changes_nothing(world: AdminWorld) -> None:
    """A typo in a version number never becomes a policy."""
    async with world.client() as client:
        answer = await client.put(URL, json=policy_body([SHARES[0], SHARES[1] | {"version": 9}]), headers=CREATE)
        assert answer.status_code == 404
        assert "9" in answer.json()["detail"]
        assert (await client.get(URL)).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"variants": [{"name": "stable", "version": 1, "weight": 9999}]}, "variants"),
        ({"variants": [{"name": "stable", "version": "one", "weight": 10_000}]}, "variants[0].version"),
        ({"sticky": {"by": "moon"}}, "sticky.by"),
        ({"colour": "red"}, "colour"),
        ({"model": "other"}, "model"),
        ({"reason": " "}, "reason"),
        ({"reason": 5}, "reason"),
    ],
)
async def test_a_wrong_document_is_400_and_names_the_field(
    world: AdminWorld, change: dict[str, Any], field: str
) -> None:
    """The detail begins with the place of the mistake."""
    async with world.client() as client:
        answer = await client.put(URL, json=policy_body() | change, headers=CREATE)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(field)


async def test_the_reason_may_come_in_a_header(world: AdminWorld) -> None:
    """For bodies that come from a file; the header goes before the body."""
    async with world.client() as client:
        headers = CREATE | {"X-Shepherd-Reason": "ticket 12"}
        answer = await client.put(URL, json=policy_body(reason="from file"), headers=headers)
    assert answer.json()["reason"] == "ticket 12"


async def test_a_patch_changes_only_what_it_names(world: AdminWorld) -> None:
    """RFC 7396: variants are replaced whole, the sticky key and shadows stay, null removes."""
    sticky = {"by": "header", "name": "x-user-id"}
    async with world.client() as client:
        body = policy_body(sticky=sticky, shadows=[{"version": 4, "sample": 100}])
        await client.put(URL, json=body, headers=CREATE)
        patch = {"variants": [{"name": "stable", "version": 1, "weight": 10_000}], "reason": "back"}
        patched = (await client.patch(URL, json=patch, headers={"If-Match": '"1"'})).json()
        assert (patched["sticky"], len(patched["variants"]), len(patched["shadows"])) == (sticky, 1, 1)
        removal = {"shadows": None, "reason": "no shadow"}
        headers = {"If-Match": '"2"', "Content-Type": "application/merge-patch+json"}
        patched = (await client.patch(URL, json=removal, headers=headers)).json()
        assert not patched.get("shadows")


async def test_a_dry_run_checks_everything_and_changes_nothing(world: AdminWorld) -> None:
    """It loads nothing either."""
    async with world.client() as client:
        answer = await client.put(URL + "?dry_run=true", json=policy_body(), headers=CREATE)
        assert (answer.status_code, answer.json()["dry_run"]) == (200, True)
        assert (await client.get(URL)).status_code == 404
        assert world.versions.asked == []
        unknown = policy_body([SHARES[0], SHARES[1] | {"version": 9}])
        assert (await client.put(URL + "?dry_run=true", json=unknown, headers=CREATE)).status_code == 404


async def test_a_policy_is_removed_under_the_same_conditions(world: AdminWorld) -> None:
    """With tag and reason; its revisions stay readable and its numbers are not used again."""
    reason = {"X-Shepherd-Reason": "retired"}
    async with world.client() as client:
        etag = await create(client)
        assert (await client.delete(URL, headers={"If-Match": etag})).status_code == 400
        assert (await client.delete(URL, headers={"If-Match": '"7"'} | reason)).status_code == 412
        assert (await client.delete(URL, headers={"If-Match": etag} | reason)).status_code == 204
        assert (await client.get(URL)).status_code == 404
        assert len((await client.get(URL + "/revisions")).json()["revisions"]) == 1
        again = await client.put(URL, json=policy_body(), headers=CREATE)
        assert again.json()["revision"] == 2


async def test_an_unchanged_policy_is_304(world: AdminWorld) -> None:
    """Whoever polls pays nothing."""
    async with world.client() as client:
        etag = await create(client)
        assert (await client.get(URL, headers={"If-None-Match": etag})).status_code == 304
        assert (await client.get(URL, headers={"If-None-Match": '"9"'})).status_code == 200


async def test_policies_are_listed_page_by_page_without_gap(world: AdminWorld) -> None:
    """`next` leads through all of them in order of their names."""
    share = [{"name": "stable", "version": 1, "weight": 10_000}]
    for name in ("c", "a", "b"):
        policy = parse_policy({"model": name, "variants": share})
        await world.store.put(policy, expected_revision=0, actor="ada", reason="first", at=1.0)
    async with world.client() as client:
        seen, after = [], ""
        while True:
            page = (await client.get("/admin/v1/policies", params={"limit": 2, "after": after})).json()
            seen += [policy["model"] for policy in page["policies"]]
            if page["next"] is None:
                break
            after = page["next"]
    assert seen == ["a", "b", "c"]


async def test_explain_decides_as_the_routers_would(world: AdminWorld) -> None:
    """A rule wins over the split; header names come in any case; versions that have failed fall out, no others."""
    rules = [{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "canary"}]
    async with world.client(Role.VIEWER) as viewer, world.client() as client:
        await client.put(URL, json=policy_body(rules=rules), headers=CREATE)
        answer = await viewer.post(URL + "/explain", json={"headers": {"X-Cohort": "beta"}, "parameters": {}})
        assert (answer.json()["version"], answer.json()["reason"], answer.json()["revision"]) == (2, "rule:0", 1)
        pinned = await viewer.post(URL + "/explain", json={"version": 1})
        assert (pinned.json()["version"], pinned.json()["reason"]) == (1, "pin")
        for state, reason in (("loading", "rule:0"), ("draining", "rule:0"), ("failed", "fallback")):
            world.versions.statuses[MODEL, 2] = VersionStatus(MODEL, 2, state)
            answer = await viewer.post(URL + "/explain", json={"headers": {"X-Cohort": "beta"}, "parameters": {}})
            assert (state, answer.json()["reason"]) == (state, reason)
        wrong = await viewer.post(URL + "/explain", json={"headers": {"x": 5}})
        assert (wrong.status_code, wrong.json()["field"]) == (400, "headers.x")


async def test_with_the_store_away_reads_and_writes_are_503_with_advice(world: AdminWorld) -> None:
    """Nothing is written, and the operator learns that traffic goes on."""
    async with world.client() as client:
        etag = await create(client)
        world.store.away = True
        for answer in (
            await client.get(URL),
            await client.put(URL, json=policy_body(), headers={"If-Match": etag}),
        ):
            assert answer.status_code == 503
            assert "traffic continues" in answer.json()["detail"]
            assert "Retry-After" in answer.headers
        status = await client.get("/admin/v1/status")
        assert status.json()["policies"] is None
        assert "Redis" in status.json()["problems"][0]
        world.store.away = False
        assert (await client.get(URL)).headers["etag"] == etag


async def test_a_version_taken_back_for_failing_hard_gets_no_share_in_a_hurry(world: AdminWorld) -> None:
    """A script that writes the same again gets 409 with the time; `force` and time itself help."""
    async with world.client() as client:
        await client.put(URL, json=policy_body([STABLE]), headers=CREATE)
        await client.put(URL, json=policy_body(), headers={"If-Match": "*"})
        policy = parse_policy({"model": MODEL, "variants": [STABLE]})
        change = PolicyChange(MODEL, policy, 2, 1, "policy.rollback")
        await world.store.write([change], actor=HARD_FAILURE_WATCH, reason="fails hard", at=time.time())

        again = await client.patch(URL, json=policy_body(), headers={"If-Match": "*"})
        rollout = {"version": 2, "reason": "again"}
        batch = {"changes": [{"model": MODEL, "revision": 3, "policy": {"variants": SHARES}}], "reason": "as in Git"}
        answers = [
            again,
            await client.post(f"/admin/v1/rollouts/{MODEL}", json=rollout),
            await client.post("/admin/v1/policies:batch", json=batch),
        ]
        assert [answer.status_code for answer in answers] == [409] * 3
        assert all(answer.json()["frozen_until"] > time.time() for answer in answers)
        assert (await client.patch(URL, json=policy_body([STABLE]), headers={"If-Match": "*"})).status_code == 200
        forced = await client.patch(URL, json=policy_body(), headers={"If-Match": "*"}, params={"force": True})
        assert forced.status_code == 200


async def test_a_policy_may_name_an_alias_alone(world: AdminWorld) -> None:
    """It is pinned when it is written, by every way of writing, and the version is shown."""
    alone = {"name": "stable", "alias": "champion", "weight": 10_000}
    async with world.client() as client:
        answer = await client.put(URL, json=policy_body([alone]), headers=CREATE)
        assert answer.json()["variants"] == [{**alone, "version": 2}]
        world.aliases[MODEL, "champion"] = 4
        patched = await client.patch(URL, json=policy_body([alone]), headers={"If-Match": "*"})
        assert patched.json()["variants"][0]["version"] == 4
        batch = {"changes": [{"model": MODEL, "revision": 2, "policy": {"variants": [alone]}}], "reason": "as in Git"}
        written = await client.post("/admin/v1/policies:batch", json=batch)
        assert written.json()["policies"][0]["variants"][0]["version"] == 4


async def test_an_alias_to_nothing_is_refused_with_those_that_there_are(world: AdminWorld) -> None:
    """Nothing is written."""
    async with world.client() as client:
        alone = {"name": "stable", "alias": "challenger", "weight": 10_000}
        answer = await client.put(URL, json=policy_body([alone]), headers=CREATE)
        assert answer.status_code == 404
        assert "it has champion" in answer.json()["detail"]
        neither = {"name": "stable", "weight": 10_000}
        answer = await client.put(URL, json=policy_body([neither]), headers=CREATE)
        assert answer.json()["detail"].startswith("variants[0].version: is required")


async def test_what_keeps_a_variant_from_its_alias_is_in_the_status(world: AdminWorld) -> None:
    """Beside whatever else is away."""
    world.concerns.append("m@champion: alias champion moved: 1 → 3; it is broken; it stays at 1")
    async with world.client() as client:
        assert (await client.get("/admin/v1/status")).json()["problems"] == world.concerns


async def test_a_dry_run_tells_how_large_the_versions_are_that_it_would_load(world: AdminWorld) -> None:
    """And of which the registry cannot tell."""
    async with world.client() as client:
        await client.put(URL, json=policy_body([STABLE]), headers=CREATE)
        shares = [{"name": f"v{version}", "version": version, "weight": 5000} for version in (2, 4)]
        answer = await client.put(URL, json=policy_body(shares), headers={"If-Match": "*"}, params={"dry_run": True})
        impact = answer.json()["impact"]
    assert (impact["versions_to_load"], impact["model_bytes"]) == ([2, 4], 2000)
    assert impact["model_bytes_unknown_of"] == [4]
