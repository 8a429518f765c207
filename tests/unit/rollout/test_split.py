"""The split of a rollout: who gets what, who moves, and what stays as the operator wrote it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from router.policy.compiled import compile_policy
from router.policy.decision import decide
from router.policy.document import Policy, parse_policy, to_document
from router.rollout.split import Roles, at_step, cast, promoted, restored, same_split, share_of, shares_at
from serving.protocol.errors import ServingError
from tests.rollouts import MODEL, NEW, OLD, base_policy

ROLES = Roles("stable", "canary")
KEYS = [f"user-{n}" for n in range(2000)]
STEPS = (100, 500, 2500, 5000, 7500, 9900)


def version_of(policy: Policy, key: str) -> int:
    compiled = compile_policy(policy)
    return decide(compiled, pinned=None, headers={}, parameters={}, request_id=key).version


def step(policy: Policy, step_bp: int) -> Policy:
    return at_step(policy, roles=ROLES, version=NEW, step_bp=step_bp, salt="r1")


def variants(policy: Policy) -> dict[str, tuple[int, int]]:
    return {variant.name: (variant.version, variant.weight) for variant in policy.variants}


@pytest.mark.parametrize("step_bp", STEPS)
def test_the_control_arm_is_as_large_as_the_canary_while_there_is_room(step_bp: int) -> None:
    """And everything sums to the whole."""
    canary, control, rest = shares_at(step_bp)
    assert (canary, control) == (step_bp, min(step_bp, 10_000 - step_bp))
    assert canary + control + rest == 10_000
    assert rest >= 0


def test_no_key_ever_leaves_the_canary_from_step_to_step() -> None:
    """Nobody sees the new version and then the old one again, until it is rolled back."""
    policy = base_policy()
    mine: set[str] = set()
    for step_bp in STEPS:
        policy = step(policy, step_bp)
        compiled = compile_policy(policy)
        now = {k for k in KEYS if decide(compiled, pinned=None, headers={}, parameters={}, request_id=k).version == NEW}
        assert mine <= now
        mine = now
    assert all(version_of(promoted(policy, roles=ROLES, version=NEW, salt=None), key) == NEW for key in KEYS[:50])


def test_every_rollout_deals_the_keys_anew_when_that_moves_nobody() -> None:
    """Else the same users would meet every new version first; an operator's own salt stays."""
    assert step(base_policy(), 100).salt == "r1"
    assert step(base_policy(salt="mine"), 100).salt == "mine"
    assert step(step(base_policy(), 100), 500).salt == "r1"


def test_a_canary_made_by_hand_is_taken_over_under_its_name() -> None:
    """With its keys."""
    by_hand = parse_policy(
        {
            "model": "flights",
            "variants": [
                {"name": "old", "version": OLD, "weight": 9500},
                {"name": "trial", "version": NEW, "weight": 500},
            ],
        }
    )
    roles = cast(by_hand, NEW)
    after = at_step(by_hand, roles=roles, version=NEW, step_bp=1000, salt="r1")

    assert roles == Roles("old", "trial")
    assert variants(after) == {"old": (OLD, 8000), "control": (OLD, 1000), "trial": (NEW, 1000)}
    assert after.salt is None


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ([("a", OLD, 5000), ("b", 5, 5000)], "share the split"),
        ([("a", NEW, 10_000)], "already answers"),
        ([("a", OLD, 10_000), ("control", OLD, 0)], "control"),
        ([("a", OLD, 10_000), ("canary", 7, 0)], "canary"),
    ],
)
def test_a_policy_that_leaves_the_parts_open_is_refused(shares: list[tuple[str, int, int]], word: str) -> None:
    """Nothing is guessed about whose traffic is at stake."""
    names = ("name", "version", "weight")
    policy = parse_policy({"model": "flights", "variants": [dict(zip(names, share, strict=True)) for share in shares]})
    with pytest.raises(ServingError, match=word):
        cast(policy, NEW)


def test_promotion_keeps_the_name_and_drops_what_has_no_use_any_more() -> None:
    """A rule that names the canary keeps working; a shadow of what answers goes."""
    more: dict[str, Any] = {"shadows": [{"version": NEW}, {"version": 9}]}
    policy = step(base_policy(**more), 500)
    plain = promoted(policy, roles=ROLES, version=NEW, salt=None)
    ruled = parse_policy(
        {
            "model": "flights",
            "shadows": [],
            "variants": [{"name": n, "version": v, "weight": w} for n, (v, w) in variants(policy).items()],
            "rules": [{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "canary"}],
        }
    )

    assert variants(plain) == {"stable": (NEW, 10_000)}
    assert [shadow.version for shadow in plain.shadows] == [9]
    assert variants(promoted(ruled, roles=ROLES, version=NEW, salt=None)) == {
        "stable": (NEW, 10_000),
        "canary": (NEW, 0),
    }


def test_a_rule_for_the_control_arm_leads_to_the_base_when_that_arm_goes() -> None:
    """Its answers were the base's; and on the way back it is not in the way of other rules."""
    policy = step(base_policy(), 500)
    rules = [
        {"when": {"header": "x-cohort", "equals": "beta"}, "variant": "control"},
        {"when": {"header": "x-cohort", "equals": "gamma"}, "variant": "stable"},
    ]
    ruled = parse_policy({**to_document(policy), "rules": rules})
    assert [rule.variant for rule in promoted(ruled, roles=ROLES, version=NEW, salt=None).rules] == ["stable"] * 2
    back = restored(ruled, base_policy())
    assert [rule.when.equals for rule in back.rules] == ["gamma"]


def test_a_restored_policy_has_the_old_split_and_keeps_other_changes() -> None:
    """A shadow that somebody added meanwhile is not lost with the canary."""
    good = base_policy()
    changed = step(base_policy(shadows=[{"version": 9}]), 500)
    back = restored(changed, good)

    assert same_split(back, good)
    assert share_of(back, NEW) == 0
    assert [shadow.version for shadow in back.shadows] == [9]


def test_weights_of_successive_steps_rise() -> None:
    """For the canary and, up to one half, for its control arm."""
    splits = [variants(step(base_policy(), step_bp)) for step_bp in STEPS]
    assert all(one["canary"][1] < two["canary"][1] for one, two in pairwise(splits))


@pytest.mark.parametrize(("alias", "kept"), [("champion", True), ("production", False)])
def test_a_base_that_follows_an_alias_goes_on_doing_so_where_that_points_to_the_version(alias: str, kept: bool) -> None:
    """Through all steps and on the way back; after promotion another alias would lead it away again."""
    variant = {"name": "stable", "version": OLD, "weight": 10_000, "alias": alias, "on_move": "rollout"}
    good = parse_policy({"model": MODEL, "variants": [variant]})
    roles = cast(good, NEW)
    halfway = at_step(good, roles=roles, version=NEW, step_bp=5000, salt="r1")
    assert halfway.variants[0].alias == alias
    assert restored(halfway, good).variants == good.variants
    (taken,) = promoted(halfway, roles=roles, version=NEW, salt=None, aliases=("champion", "")).variants
    assert (taken.version, taken.weight) == (NEW, 10_000)
    assert (taken.alias == alias, taken.on_move == "rollout") == (kept, kept)
