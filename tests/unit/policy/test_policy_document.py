"""The policy document: what is accepted, and how each mistake is named."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from router.policy.document import ShadowRule, Sticky, Variant, parse_policy, to_document, versions_of
from serving.protocol.errors import ErrorKind, ServingError

DESIGN_EXAMPLE = """
model: flight-delay
sticky: {by: header, name: x-user-id}
variants:
  - {name: stable, version: 3, weight: 9500}
  - {name: canary, version: 4, weight: 500}
rules:
  - {when: {header: x-cohort, equals: beta}, variant: canary}
shadows:
  - {version: 5, sample: 2000, timeout_ms: 500, max_in_flight: 64}
"""


def test_the_example_of_the_manual_parses_and_comes_back_as_written() -> None:
    """YAML and JSON are one form."""
    document = yaml.safe_load(DESIGN_EXAMPLE)
    policy = parse_policy(document)

    assert policy.variants == (Variant("stable", 3, 9500), Variant("canary", 4, 500))
    assert policy.sticky == Sticky("header", "x-user-id")
    assert policy.shadows == (ShadowRule(5, 2000, 500, 64),)
    assert to_document(policy) == document
    assert parse_policy(json.loads(json.dumps(document))) == policy


def test_a_minimal_document_is_split_by_request_id_with_no_rules_and_no_shadows() -> None:
    """Only the model and its variants are required."""
    policy = parse_policy({"model": "m", "variants": [{"name": "a", "version": 1, "weight": 10_000}]})

    assert policy.sticky == Sticky("request_id", "")
    assert (policy.rules, policy.shadows, policy.salt) == ((), (), None)


def test_versions_of_names_each_version_once_shadows_included() -> None:
    """They all must be ready before the policy takes effect."""
    assert versions_of(parse_policy(yaml.safe_load(DESIGN_EXAMPLE))) == (3, 4, 5)


def test_two_variants_may_share_a_version() -> None:
    """A control arm is the stable version under another name."""
    policy = parse_policy(
        {
            "model": "m",
            "variants": [
                {"name": "stable", "version": 1, "weight": 9000},
                {"name": "control", "version": 1, "weight": 1000},
            ],
        }
    )
    assert versions_of(policy) == (1,)


def test_a_shadow_of_a_canary_is_allowed() -> None:
    """It compares both on the same inputs."""
    document = yaml.safe_load(DESIGN_EXAMPLE)
    document["shadows"][0]["version"] = 4
    assert parse_policy(document).shadows[0].version == 4


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("", {"foo": 1}, "foo: unknown field"),
    ("", {"model": "no spaces"}, "model: must be 1-128"),
    ("", {"model": "new\n"}, "model: must be 1-128"),
    ("", {"model": "a" * 129}, "model: must be 1-128"),
    ("", {"model": "../etc"}, "model: must be 1-128"),
    ("", {"model": "modèle"}, "model: must be 1-128"),
    ("", {"model": 7}, "model: expected `str`"),
    ("", {"salt": "no spaces"}, "salt: must be 1-128"),
    ("", {"variants": []}, "variants: "),
    ("", {"variants": {}}, "variants: expected `array`"),
    ("", {"variants": [{"name": "a", "version": 1, "weight": 9_999}]}, "variants: the weights sum to 9999"),
    ("variants.1", {"weight": 501}, "variants: the weights sum to 10001"),
    ("variants.1", {"weight": -1}, "variants[1].weight: "),
    ("variants.1", {"weight": 10_001}, "variants[1].weight: "),
    ("variants.1", {"weight": 500.5}, "variants[1].weight: expected `int`"),
    ("variants.1", {"weight": "500"}, "variants[1].weight: expected `int`"),
    ("variants.1", {"weight": True}, "variants[1].weight: expected `int`"),
    ("variants.1", {"version": 0}, "variants[1].version: "),
    ("variants.1", {"version": "4"}, "variants[1].version: expected `int`"),
    ("variants.1", {"name": "stable"}, "variants[1].name: 'stable' is used twice"),
    ("variants.1", {"name": ".hidden"}, "variants[1].name: must be 1-128"),
    ("variants.1", {"wieght": 5}, "variants[1].wieght: unknown field"),
    ("sticky", {"by": "cookie"}, "sticky.by: "),
    ("sticky", {"name": ""}, "sticky.name: is required when sticky.by is header"),
    ("sticky", {"name": "x user"}, "sticky.name: 'x user' is not a header name"),
    ("sticky", {"by": "request_id"}, "sticky.name: must be left out"),
    ("", {"sticky": None}, "sticky: expected `object`"),
    ("rules.0", {"variant": "beta"}, "rules[0].variant: there is no variant 'beta'; known: canary, stable"),
    ("rules.0", {"when": {}}, "rules[0].when: needs exactly one of header, parameter"),
    ("rules.0.when", {"parameter": "p"}, "rules[0].when: needs exactly one of header, parameter"),
    ("rules.0.when", {"prefix": "b"}, "rules[0].when: needs exactly one of equals, in, prefix, present"),
    ("rules.0", {"when": {"header": "h"}}, "rules[0].when: needs exactly one of equals, in, prefix, present"),
    ("rules.0", {"when": {"header": "h:", "present": True}}, "rules[0].when.header: 'h:' is not a header name"),
    ("rules.0", {"when": {"header": "h", "in": []}}, "rules[0].when.in: "),
    ("rules.0", {"when": {"header": "h", "equals": 0.5}}, "rules[0].when.equals: "),
    ("rules.0.when", {"regex": "b"}, "rules[0].when.regex: unknown field"),
    ("shadows.0", {"sample": 10_001}, "shadows[0].sample: "),
    ("shadows.0", {"timeout_ms": 0}, "shadows[0].timeout_ms: "),
    ("shadows.0", {"max_in_flight": 0}, "shadows[0].max_in_flight: "),
    ("", {"shadows": [{"sample": 5}]}, "shadows[0].version: is required"),
    ("", {"shadows": [{"version": 5}, {"version": 5}]}, "shadows[1].version: version 5 is shadowed twice"),
    (
        "",
        {"variants": [{"name": "a", "version": 5, "weight": 10_000}], "rules": []},
        "shadows[0].version: every variant is version 5",
    ),
]


@pytest.mark.parametrize(
    ("path", "change", "message"), WRONG, ids=[f"{path} {change}"[:60] for path, change, _ in WRONG]
)
def test_a_mistake_is_invalid_and_named_by_its_field(path: str, change: dict[str, Any], message: str) -> None:
    """The example with one thing changed at `path`."""
    document = copy.deepcopy(yaml.safe_load(DESIGN_EXAMPLE))
    at = document
    for step in filter(None, path.split(".")):
        at = at[int(step)] if isinstance(at, list) else at[step]
    at.update(change)

    with pytest.raises(ServingError) as error:
        parse_policy(document)
    assert error.value.kind is ErrorKind.INVALID
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("document", [None, [], "model: m", 7, {1: 2}])
def test_what_is_no_object_is_invalid_as_a_whole(document: object) -> None:
    """There is no field to name."""
    with pytest.raises(ServingError) as error:
        parse_policy(document)
    assert str(error.value).startswith("policy: ")


FOLLOWER = {"name": "stable", "version": 1, "weight": 10_000, "alias": "champion"}


def test_a_variant_that_follows_an_alias_may_say_how() -> None:
    """A plan is part of the document and comes back with its defaults."""
    plan = {"steps": [500, 10_000], "checks": ["latency"]}
    policy = parse_policy({"model": "m", "variants": [{**FOLLOWER, "on_move": "rollout", "plan": plan}]})
    assert policy.variants[0].plan is not None
    assert policy.variants[0].plan.steps == (500, 10_000)
    assert parse_policy(to_document(policy)) == policy


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"alias": None, "on_move": "rollout"}, "variants[0].on_move: says what becomes of an alias"),
        ({"plan": {}}, "variants[0].plan: is for on_move: rollout"),
        ({"on_move": "rollout", "plan": {"steps": [500, 500]}}, "variants[0].plan.steps[1]: 500 does not rise"),
        (
            {"on_move": "rollout", "plan": {"checks": ["vibes"]}},
            "variants[0].plan.checks[0].kind: there is no such check",
        ),
        ({"on_move": "rollout", "plan": {"tempo": 1}}, "variants[0].plan.tempo: unknown field"),
        ({"on_move": "leap"}, "variants[0].on_move:"),
        (
            {"on_move": "rollout", "plan": {"checks": [{"kind": "label_metric", "metric": "f1"}]}},
            "variants[0].plan.checks[0].metric: no metric that labels tell one by one; there are accuracy",
        ),
    ],
)
def test_a_mistake_in_how_an_alias_is_followed_is_named(variant: dict[str, object], words: str) -> None:
    """By its field."""
    with pytest.raises(ServingError) as refused:
        parse_policy({"model": "m", "variants": [FOLLOWER | variant]})
    assert str(refused.value).startswith(words)
