"""Decisions: precedence, reasons, keys, fallback, shadows."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from router.policy.compiled import compile_policy, key_text
from router.policy.decision import Decision, decide, explain
from router.policy.document import ShadowRule, parse_policy
from serving.protocol.messages import Parameter

STABLE, CANARY, DARK = (
    {"name": "stable", "version": 3, "weight": 5_000},
    {"name": "canary", "version": 4, "weight": 5_000},
    {"name": "dark", "version": 6, "weight": 0},
)
BY_USER = {"by": "header", "name": "X-User-Id"}


def ask(
    pinned: int | None = None,
    headers: dict[str, str] | None = None,
    parameters: dict[str, Parameter] | None = None,
    request_id: str = "request-1",
    unavailable: frozenset[int] = frozenset(),
    **fields: Any,
) -> Decision:
    """Decide under a policy of stable and canary at half each and a dark launch, changed by `fields`."""
    document = {"model": "m", "variants": [STABLE, CANARY, DARK], **fields}
    return decide(
        compile_policy(parse_policy(document)),
        pinned=pinned,
        headers=headers or {},
        parameters=parameters or {},
        request_id=request_id,
        unavailable=unavailable,
    )


RULES = [
    {"when": {"header": "X-Cohort", "equals": "beta"}, "variant": "dark"},
    {"when": {"parameter": "user", "in": [42, "ada"]}, "variant": "canary"},
    {"when": {"header": "x-tenant", "prefix": "test-"}, "variant": "canary"},
    {"when": {"header": "x-debug", "present": True}, "variant": "stable"},
    {"when": {"parameter": "priority", "equals": True}, "variant": "stable"},
]


@pytest.mark.parametrize(
    ("headers", "parameters", "reason", "variant"),
    [
        ({"x-cohort": "beta"}, {}, "rule:0", "dark"),
        ({"x-cohort": "beta", "x-debug": ""}, {"user": 42}, "rule:0", "dark"),
        ({}, {"user": 42}, "rule:1", "canary"),
        ({}, {"user": "42"}, "rule:1", "canary"),
        ({}, {"user": 42.0}, "rule:1", "canary"),
        ({}, {"user": "ada"}, "rule:1", "canary"),
        ({"x-tenant": "test-7"}, {}, "rule:2", "canary"),
        ({"x-debug": ""}, {}, "rule:3", "stable"),
        ({}, {"priority": True}, "rule:4", "stable"),
    ],
)
def test_the_first_rule_that_matches_decides(
    headers: dict[str, str], parameters: dict[str, Parameter], reason: str, variant: str
) -> None:
    """Over the split and whatever the variant's weight; header names in any case in the document."""
    decision = ask(headers=headers, parameters=parameters, rules=RULES)
    assert (decision.reason, decision.variant, decision.key) == (reason, variant, "")


@pytest.mark.parametrize("headers", [{}, {"x-cohort": "Beta"}, {"x-cohort": ""}, {"x-tenant": "best-test-"}])
def test_a_rule_that_does_not_match_leaves_it_to_the_split(headers: dict[str, str]) -> None:
    """Values are compared exactly; an absent one equals nothing."""
    assert ask(headers=headers, parameters={"user": True, "priority": 1}, rules=RULES).reason == "split"


def test_a_rule_can_ask_for_absence() -> None:
    """`present: false`."""
    rules = [{"when": {"header": "x-user-id", "present": False}, "variant": "stable"}]
    assert ask(rules=rules).reason == "rule:0"
    assert ask(rules=rules, headers={"x-user-id": ""}).reason == "split"


def test_a_pinned_version_wins_over_rules_and_the_split() -> None:
    """The client named it."""
    assert ask(pinned=3, headers={"x-cohort": "beta"}, rules=RULES) == Decision("stable", 3, "pin")


def test_a_pinned_version_in_no_variant_is_answered_under_no_name() -> None:
    """Any version that is ready may be asked for."""
    assert ask(pinned=9) == Decision("", 9, "pin")


def test_a_pinned_version_never_falls_back_and_is_not_shadowed() -> None:
    """Whoever asks for one version must not get another, and probes are not traffic."""
    assert ask(pinned=4, unavailable=frozenset({4}), shadows=[{"version": 5}]) == Decision("canary", 4, "pin")


def test_a_key_as_long_as_a_body_is_neither_remembered_nor_recorded_whole() -> None:
    """It splits like any other key; a digest stands for it, since memory and log are bounded in keys, not in bytes."""
    compiled = compile_policy(parse_policy({"model": "m", "variants": [STABLE, CANARY], "sticky": BY_USER}))

    def variants_of(length: int) -> dict[str, str]:
        """Decide twice by each of some keys."""
        decided: dict[str, str] = {}
        for key in [f"{number:x>{length}}" for number in range(50)] * 2:
            decision = decide(compiled, pinned=None, headers={"x-user-id": key}, parameters={}, request_id="r")
            assert decided.setdefault(decision.key, decision.variant) == decision.variant
            assert decision.variant == compiled.split(key).variant
        return decided

    tracemalloc.start()
    try:
        long = variants_of(100_000)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(long) == 50
    assert set(long.values()) == {"stable", "canary"}
    assert all(key.startswith("blake2b:") and len(key) <= 256 for key in long)
    assert set(variants_of(256)) == {f"{number:x>256}" for number in range(50)}


def test_a_long_key_falls_back_like_any_other() -> None:
    """And is recorded by the same digest."""
    usual = ask(headers={"x-user-id": "u" * 1000}, sticky=BY_USER)
    version = {3: 4, 4: 3}[usual.version]

    fallback = ask(headers={"x-user-id": "u" * 1000}, sticky=BY_USER, unavailable=frozenset({usual.version}))

    assert (fallback.version, fallback.reason, fallback.key) == (version, "fallback", usual.key)


def test_one_variant_with_the_whole_weight_needs_no_key() -> None:
    """The most common policy costs nothing."""
    assert ask(variants=[STABLE | {"weight": 10_000}, DARK], sticky=BY_USER) == Decision("stable", 3, "only")


def test_a_key_keeps_its_variant_whatever_the_request() -> None:
    """Sticky: the request id plays no part."""
    for user in range(20):
        decisions = {
            ask(headers={"x-user-id": f"user-{user}"}, request_id=f"request-{number}", sticky=BY_USER).variant
            for number in range(5)
        }
        assert len(decisions) == 1


@pytest.mark.parametrize("headers", [{}, {"x-user-id": ""}])
def test_a_request_without_its_sticky_key_is_split_by_request_id(headers: dict[str, str]) -> None:
    """Otherwise everybody who is not logged in would share one variant."""
    decisions = {ask(headers=headers, request_id=f"request-{number}", sticky=BY_USER).variant for number in range(40)}
    assert decisions == {"stable", "canary"}
    assert ask(headers=headers, sticky=BY_USER).key == "request-1"


def test_a_header_and_a_parameter_of_the_same_text_are_the_same_key() -> None:
    """So a user keeps the variant over HTTP and gRPC, and whichever way a client types the number."""
    by_parameter = {"by": "parameter", "name": "user"}
    expected = ask(headers={"x-user-id": "42"}, sticky=BY_USER)
    for value in (42, 42.0, "42"):
        assert ask(parameters={"user": value}, sticky=by_parameter) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [("", ""), ("a", "a"), (True, "true"), (False, "false"), (-7, "-7"), (1e3, "1000"), (0.5, "0.5")],
)
def test_a_parameter_has_one_text(value: Parameter, text: str) -> None:
    """Known by every client, so it is fixed."""
    assert key_text(value) == text


def test_a_number_with_more_digits_than_python_agrees_to_print_has_a_text_too() -> None:
    """A client may send any number."""
    assert key_text(16**5000) == "0x1" + 5000 * "0"


def test_keys_that_are_no_text_of_any_protocol_still_get_a_variant() -> None:
    """`decide` never fails."""
    for key in ("\ud800", "\0", "x" * 100_000):
        assert ask(headers={"x-user-id": key}, sticky=BY_USER).variant in {"stable", "canary"}


def test_keys_of_an_unavailable_variant_fall_back_and_no_others_move() -> None:
    """By rendezvous, never to a dark launch."""
    for user in range(50):
        headers = {"x-user-id": f"user-{user}"}
        usual = ask(headers=headers, sticky=BY_USER)
        fallen = ask(headers=headers, sticky=BY_USER, unavailable=frozenset({4}))
        if usual.variant == "stable":
            assert fallen == usual
        else:
            assert fallen == Decision("stable", 3, "fallback", f"user-{user}")


def test_a_rule_whose_variant_is_unavailable_falls_back_to_the_split() -> None:
    """The reason says so."""
    decision = ask(headers={"x-cohort": "beta"}, rules=RULES, unavailable=frozenset({6}))
    assert decision.reason == "fallback"
    assert decision.variant in {"stable", "canary"}


def test_with_nothing_available_the_choice_stands() -> None:
    """The caller holds the request for it, or answers 503."""
    assert ask(unavailable=frozenset({3, 4})) == ask()
    only = [STABLE | {"weight": 10_000}, DARK]
    assert ask(variants=only, unavailable=frozenset({3})) == Decision("stable", 3, "only")


def test_a_shadow_gets_its_sample_of_the_requests() -> None:
    """By request id, so that a sticky user is not always or never mirrored."""
    shadows = [{"version": 5, "sample": 2_000}, {"version": 7, "sample": 0}, {"version": 8}]
    sampled = [ask(request_id=f"request-{number}", shadows=shadows).shadows for number in range(1_000)]
    counts = {version: sum(version in {rule.version for rule in rules} for rules in sampled) for version in (5, 7, 8)}
    assert counts[5] == pytest.approx(200, abs=40)
    assert (counts[7], counts[8]) == (0, 1_000)


def test_shadows_sample_independently_of_each_other_and_of_the_split() -> None:
    """Else the mirrored requests would be no fair sample."""
    shadows = [{"version": 5, "sample": 5_000}, {"version": 7, "sample": 5_000}]
    seen = [ask(request_id=f"request-{number}", shadows=shadows) for number in range(2_000)]
    both = sum(len(decision.shadows) == 2 for decision in seen)
    canary_mirrored = sum(
        decision.variant == "canary" and any(rule.version == 5 for rule in decision.shadows) for decision in seen
    )
    assert both == pytest.approx(500, abs=80)
    assert canary_mirrored == pytest.approx(500, abs=80)


def test_a_request_is_never_shadowed_to_the_version_that_answers_it() -> None:
    """It would compare a version with itself."""
    for number in range(40):
        decision = ask(request_id=f"request-{number}", shadows=[{"version": 4}])
        assert decision.shadows == (() if decision.variant == "canary" else (ShadowRule(4),))


def test_a_decision_names_the_salt_of_its_experiment_not_the_document() -> None:
    """The model's name is the salt unless another is given."""
    users = [{"x-user-id": f"user-{number}"} for number in range(40)]
    usual = [ask(headers=user, sticky=BY_USER).variant for user in users]
    assert [ask(headers=user, sticky=BY_USER, salt="m").variant for user in users] == usual
    assert [ask(headers=user, sticky=BY_USER, salt="another").variant for user in users] != usual


def test_an_explanation_shows_every_step() -> None:
    """For an operator, in JSON types."""
    document = {
        "model": "m",
        "sticky": BY_USER,
        "variants": [STABLE, CANARY, DARK],
        "rules": RULES,
        "shadows": [{"version": 5}, {"version": 4, "sample": 0}],
    }
    answer = explain(
        compile_policy(parse_policy(document)),
        pinned=None,
        headers={"X-Cohort": "none", "X-User-Id": "ada"},
        parameters={"user": 42},
        request_id="request-1",
        unavailable=frozenset({3}),
    )
    split = answer.pop("split")
    assert answer == {
        "model": "m",
        "variant": "canary",
        "version": 4,
        "reason": "rule:1",
        "pinned": None,
        "unavailable": [3],
        "rules": [RULES[0] | {"value": "none", "matched": False}, RULES[1] | {"value": "42", "matched": True}],
        "shadows": [
            {"version": 5, "sample": 10_000, "mirrored": True},
            {"version": 4, "sample": 0, "mirrored": False},
        ],
    }
    assert (split["key"], split["key_from"], split["sticky_key_missing"]) == ("ada", "header X-User-Id", False)
    assert [(one["variant"], one["available"]) for one in split["variants"]] == [
        ("stable", False),
        ("canary", True),
        ("dark", True),
    ]
    assert split["variants"][2]["score"] is None


def test_an_explanation_says_when_the_sticky_key_was_missing() -> None:
    """The usual answer to "why do my users change variants"."""
    document = {"model": "m", "sticky": BY_USER, "variants": [STABLE, CANARY]}
    answer = explain(
        compile_policy(parse_policy(document)), pinned=None, headers={}, parameters={}, request_id="request-1"
    )
    assert (answer["split"]["key"], answer["split"]["key_from"]) == ("request-1", "request_id")
    assert answer["split"]["sticky_key_missing"] is True
