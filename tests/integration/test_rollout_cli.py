"""Rollouts, restoring and files on the command line, against a live admin API without a controller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.admin import MODEL, AdminWorld
from tests.command_line import Shepherd, json_of, shepherd_on


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


@pytest.fixture
def shepherd(world: AdminWorld) -> Iterator[Shepherd]:
    """Run a command on the state directory of a live admin API, on whose model version 1 has all the traffic."""
    with shepherd_on(world) as run:
        assert run("traffic", "set", MODEL, "stable=1:100%", "--reason", "first").exit_code == 0
        yield run


def start(shepherd: Shepherd, *more: str) -> Result:
    return shepherd("rollout", "start", MODEL, "--version", "2", "--reason", "weekly", *more, "-o", "json")


def test_every_part_of_a_plan_has_an_option(shepherd: Shepherd) -> None:
    """Shares in percent, checks by name and settings, times with their offset."""
    plan = json_of(
        start(
            shepherd,
            *("--steps", "0.5,10,100", "--min-requests", "7", "--min-time", "3", "--bake", "4"),
            *("--check", "error_rate,margin=0.01", "--check", "latency,quantile=0.5,dry_run=true"),
            *("--shadow", "20"),
            *("--at", "2100-01-01T00:00Z", "--gate", "confirm-start=https://hooks.example/ok"),
        )
    )["plan"]
    assert plan["steps"] == [50, 1000, 10_000]
    assert (plan["min_requests"], plan["min_time_s"], plan["bake_s"]) == (7, 3.0, 4.0)
    assert [(check["kind"], check["dry_run"]) for check in plan["checks"]] == [("error_rate", False), ("latency", True)]
    assert plan["shadow"]["sample"] == 2000
    assert plan["start_at"] == 4_102_444_800.0
    assert plan["gates"][0]["kind"] == "confirm_start"


@pytest.mark.parametrize(
    "option",
    [
        ("--steps", "1,x"),
        ("--shadow", "much"),
        ("--check", "latency,quantile"),
        ("--gate", "confirm-start"),
        ("--at", "2026-01-01T00:00"),
        ("--at", "soon"),
        ("--no-checks", "--check", "latency"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_tried(shepherd: Shepherd, option: tuple[str, ...]) -> None:
    """Exit code 2, as for every wrong command line."""
    assert start(shepherd, *option).exit_code == 2
    assert shepherd("rollout", "status", MODEL).exit_code == 1


def test_a_watch_ends_with_the_rollout_and_tells_how_it_ended(shepherd: Shepherd) -> None:
    """So that a pipeline can wait for it."""
    assert start(shepherd).exit_code == 0
    assert shepherd("rollout", "pause", MODEL, "--reason", "x").exit_code == 1
    assert shepherd("rollout", "abort", MODEL, "--reason", "no").exit_code == 0

    watched = shepherd("rollout", "status", MODEL, "-w")

    assert watched.exit_code == 6
    assert "aborted by admin: no" in watched.output
    assert [each["phase"] for each in json_of(shepherd("rollout", "status", "-o", "json"))] == ["aborted"]


def test_the_status_shows_phase_share_steps_and_reason(shepherd: Shepherd) -> None:
    """At a glance."""
    start(shepherd, "--steps", "20,100")
    shown = shepherd("rollout", "status", MODEL).output
    for part in ("pending", "20%", "100%", "version 1 → 2", "started by admin: weekly"):
        assert part in shown


def test_rollback_and_undo_show_the_policy_that_stands(shepherd: Shepherd) -> None:
    """A dry run shows the one that would, and what moves."""
    shepherd("traffic", "set", MODEL, "stable=2:100%", "--reason", "second")
    assert "would move 100.0% of the keys" in shepherd("rollback", MODEL, "--dry-run", "--reason", "x").output
    assert json_of(shepherd("rollback", MODEL, "--reason", "x", "-o", "json"))["variants"][0]["version"] == 1
    assert json_of(shepherd("undo", MODEL, "--reason", "x", "-o", "json"))["variants"][0]["version"] == 2
    one = json_of(shepherd("undo", MODEL, "--revision", "1", "--reason", "x", "-o", "json"))
    assert (one["variants"][0]["version"], one["restores"]) == (1, 1)


def test_what_get_writes_apply_finds_unchanged(shepherd: Shepherd, tmp_path: Path) -> None:
    """Round trip, in one file or many."""
    folder = tmp_path / "git"
    folder.mkdir()
    (folder / "policies.yaml").write_text(shepherd("get").stdout)
    for more in ((), ("--dry-run",), ("--prune",)):
        applied = shepherd("apply", "-f", str(folder), *more)
        assert (applied.exit_code, "nothing to change" in applied.output) == (0, True), applied.output


def test_apply_shows_the_difference_makes_it_and_then_has_none(shepherd: Shepherd, tmp_path: Path) -> None:
    """A dry run exits with 6 and changes nothing."""
    file = tmp_path / "policies.yaml"
    file.write_text(shepherd("get").stdout.replace("version: 1", "version: 2"))

    dry = shepherd("apply", "-f", str(file), "--dry-run")
    done = shepherd("apply", "-f", str(file), "--reason", "release")
    again = shepherd("apply", "-f", str(file))

    assert (dry.exit_code, "version: 2" in dry.output) == (6, True)
    assert (done.exit_code, again.exit_code) == (0, 0)
    assert json_of(shepherd("traffic", "show", MODEL, "-o", "json"))["revision"] == 2


def test_prune_removes_what_no_file_has(shepherd: Shepherd, tmp_path: Path) -> None:
    """And only with that word."""
    (tmp_path / "empty").mkdir()
    assert shepherd("apply", "-f", str(tmp_path / "empty")).exit_code == 0
    assert json_of(shepherd("traffic", "show", "-o", "json"))
    assert shepherd("apply", "-f", str(tmp_path / "empty"), "--prune").exit_code == 0
    assert json_of(shepherd("traffic", "show", "-o", "json")) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("model: [", "policies.yaml"),
        ("- 1", "not a policy"),
        ("model: m\nvariants: []", "variants"),
        (
            "---\nmodel: m\nvariants: &v [{name: a, version: 1, weight: 10000}]\n---\nmodel: m\nvariants: *v\n",
            "policies",
        ),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_tried(shepherd: Shepherd, tmp_path: Path, text: str, word: str) -> None:
    """Exit code 2."""
    file = tmp_path / "policies.yaml"
    file.write_text(text)
    result = shepherd("apply", "-f", str(file))
    assert (result.exit_code, word in result.output) == (2, True), result.output


def test_tokens_go_through_the_gateway_that_runs_and_into_its_audit_log(shepherd: Shepherd) -> None:
    """Without one, the files are changed directly."""
    assert shepherd("token", "add", "ben", "--role", "operator").exit_code == 0
    assert shepherd("token", "remove", "ben").exit_code == 0
    actions = [entry["action"] for entry in json_of(shepherd("audit", "-o", "json"))]
    assert actions[-2:] == ["token.add", "token.remove"]
