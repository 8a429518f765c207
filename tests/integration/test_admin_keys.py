"""API keys over the admin API and the command line: made once, shown once, listed without their secrets, revoked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.access.key import digest_of
from router.cli.main import cli
from tests.admin import AdminWorld, serving

WANTED = {"name": "team", "models": ["fraud", "churn-*"]}


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


@pytest.mark.asyncio
async def test_a_key_is_told_once_and_its_digest_kept(world: AdminWorld) -> None:
    """The answer has the secret; the store and the list do not. No two keys have the same."""
    async with world.client() as client:
        made = await client.post("/admin/v1/keys", json=WANTED | {"actions": ["infer"], "expires_in_s": 60})
        other = await client.post("/admin/v1/keys", json=WANTED | {"name": "other"})
        listed = await client.get("/admin/v1/keys")

    secret = made.json()["key"]
    assert made.status_code == 201
    assert secret != other.json()["key"]
    assert secret.startswith("shk_")
    assert secret not in listed.text
    (kept,) = [key for key in (await world.keys.snapshot()).keys if key.name == "team"]
    assert kept.sha256 == digest_of(secret)
    assert kept.expires_at == pytest.approx(kept.created_at + 60)
    assert listed.json()["keys"] == [kept.describe() for kept in (await world.keys.snapshot()).keys]
    assert digest_of(secret) not in listed.text


@pytest.mark.asyncio
async def test_a_name_that_is_taken_and_one_that_is_not_there(world: AdminWorld) -> None:
    """409 and 404: nobody's key ends by mistake."""
    async with world.client() as client:
        assert (await client.post("/admin/v1/keys", json=WANTED)).status_code == 201
        assert (await client.post("/admin/v1/keys", json=WANTED)).status_code == 409
        assert (await client.delete("/admin/v1/keys/team")).status_code == 204
        assert (await client.delete("/admin/v1/keys/team")).status_code == 404


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "no name"}, "name"),
        ({"name": "team\n"}, "name"),
        ({"models": []}, "models"),
        ({"models": ["a b"]}, "models"),
        ({"models": "fraud"}, "models"),
        ({"actions": ["fly"]}, "actions"),
        ({"expires_in_s": -1}, "expires_in_s"),
        ({"scope": "all"}, "scope"),
    ],
)
async def test_a_mistake_is_named_by_its_field(world: AdminWorld, wrong: dict[str, Any], field: str) -> None:
    """400, before anything is made."""
    async with world.client() as client:
        answer = await client.post("/admin/v1/keys", json=WANTED | wrong)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(field)
    assert (await world.keys.snapshot()).keys == ()


def _run(world: AdminWorld, address: str, *arguments: str) -> Result:
    where = ["--url", address, "--token", world.admin_token]
    return CliRunner().invoke(cli, ["key", *arguments, *where])


def test_the_command_line_makes_lists_and_revokes(world: AdminWorld) -> None:
    """`create` prints the secret alone, for scripts; a span is a number and a unit."""
    with serving(world.app) as address:
        made = _run(
            world, address, "create", "team", "--models", "fraud,churn-*", "--expires", "90d", "--reason", "asked"
        )
        listed = _run(world, address, "list", "-o", "json")
        shown = _run(world, address, "list")
        wrong = _run(world, address, "create", "x", "--models", "fraud", "--expires", "soon")
        gone = _run(world, address, "revoke", "team")
        again = _run(world, address, "revoke", "team")

    assert made.exit_code == 0, made.output
    assert made.output.startswith("shk_")
    assert len(made.output.split()) == 1
    (key,) = json.loads(listed.output)
    assert (key["models"], key["actions"]) == (["fraud", "churn-*"], ["feedback", "infer", "metadata"])
    assert key["expires_at"] - key["created_at"] == pytest.approx(90 * 86_400)
    assert "churn-*" in shown.output
    assert (wrong.exit_code, "45m, 12h or 90d" in wrong.output) == (2, True)
    assert (gone.exit_code, again.exit_code) == (0, 1)
