"""Laws of documents, decisions and explanations over all policies."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.compiled import compile_policy
from router.policy.decision import decide, explain
from router.policy.document import Policy, parse_policy, to_document
from serving.protocol.errors import ServingError

NAMES = ("stable", "canary", "control", "dark")
versions = st.integers(1, 6)
texts = st.sampled_from(["", "a", "ab", "7", "true"])
scalars = st.one_of(texts, st.integers(0, 9), st.booleans())
subjects = st.sampled_from(["x-user", "x-cohort", "user"])


@st.composite
def weights(draw: st.DrawFn, count: int) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), min_size=count - 1, max_size=count - 1)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, 10_000], strict=True)]


conditions = st.builds(
    lambda side, subject, comparison: {side: subject, **comparison},
    st.sampled_from(["header", "parameter"]),
    subjects,
    st.one_of(
        scalars.map(lambda value: {"equals": value}),
        st.lists(scalars, min_size=1, max_size=3).map(lambda values: {"in": values}),
        st.sampled_from(["a", "ab"]).map(lambda prefix: {"prefix": prefix}),
        st.booleans().map(lambda present: {"present": present}),
    ),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    count = draw(st.integers(1, len(NAMES)))
    names = draw(st.permutations(NAMES))[:count]
    shares = draw(weights(count))
    variants = [
        {"name": name, "version": draw(versions), "weight": share} for name, share in zip(names, shares, strict=True)
    ]
    answering = {variant["version"] for variant in variants}
    document: dict[str, Any] = {
        "model": "m",
        "variants": variants,
        "sticky": draw(
            st.one_of(
                st.just({"by": "request_id"}),
                st.builds(
                    lambda by, name: {"by": by, "name": name}, st.sampled_from(["header", "parameter"]), subjects
                ),
            )
        ),
        "rules": [
            {"when": condition, "variant": draw(st.sampled_from(names))}
            for condition in draw(st.lists(conditions, max_size=3))
        ],
        "shadows": [
            {"version": version, "sample": draw(st.sampled_from([0, 1, 5_000, 10_000]))}
            for version in draw(st.lists(versions, unique=True, max_size=3))
            if answering != {version}
        ],
    }
    if draw(st.booleans()):
        document["salt"] = draw(st.sampled_from(["s", "t"]))
    return parse_policy(document)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """The arguments of `decide` beside the policy."""
    return {
        "pinned": draw(st.none() | versions),
        "headers": draw(st.dictionaries(subjects, texts)),
        "parameters": draw(st.dictionaries(subjects, scalars | st.floats())),
        "request_id": draw(st.text(max_size=8)),
        "unavailable": draw(st.frozensets(versions, max_size=4)),
    }


@given(policies())
def test_a_policy_is_the_same_after_a_way_through_its_document(policy: Policy) -> None:
    """And the document after a way through JSON."""
    document = to_document(policy)
    assert parse_policy(document) == policy
    assert msgspec.json.decode(msgspec.json.encode(document)) == document


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(policies(), st.sampled_from(["model", "variants", "sticky", "rules", "shadows", "salt", "extra"]), junk)
def test_whatever_is_wrong_with_a_document_is_a_serving_error_and_nothing_else(
    policy: Policy, field: str, value: Any
) -> None:
    """Never a crash: documents come from people."""
    with suppress(ServingError):
        parse_policy(to_document(policy) | {field: value})


@given(policies(), requests())
def test_a_decision_is_one_of_the_policy(policy: Policy, request: dict[str, Any]) -> None:
    """Its variant has its version, its reason says how, and its shadows are the policy's own."""
    decision = decide(compile_policy(policy), **request)
    if decision.variant:
        chosen = next(variant for variant in policy.variants if variant.name == decision.variant)
        assert chosen.version == decision.version
        if decision.reason in {"split", "fallback", "only"}:
            assert chosen.weight > 0
    else:
        assert decision.reason == "pin"
    assert (decision.reason == "pin") == (request["pinned"] is not None)
    assert set(decision.shadows) <= set(policy.shadows)
    assert decision.version not in {shadow.version for shadow in decision.shadows}


@given(policies(), requests())
def test_an_unavailable_version_is_chosen_only_when_pinned_or_when_nothing_else_can_answer(
    policy: Policy, request: dict[str, Any]
) -> None:
    """And then the reason is not `fallback`."""
    unavailable = request["unavailable"]
    decision = decide(compile_policy(policy), **request)
    if decision.version in unavailable and decision.reason != "pin":
        assert all(variant.version in unavailable for variant in policy.variants if variant.weight)
        assert decision.reason != "fallback"


@given(policies(), requests(), requests())
def test_what_is_unavailable_moves_only_the_keys_it_had(
    policy: Policy, request: dict[str, Any], other: dict[str, Any]
) -> None:
    """Everybody else stays."""
    usual = decide(compile_policy(policy), **request | {"unavailable": frozenset()})
    if usual.version not in other["unavailable"]:
        assert decide(compile_policy(policy), **request | {"unavailable": other["unavailable"]}) == usual


@given(policies(), requests())
def test_an_explanation_agrees_with_the_decision(policy: Policy, request: dict[str, Any]) -> None:
    """By its answer, and by every step that it shows."""
    compiled = compile_policy(policy)
    decision = decide(compiled, **request)
    answer = explain(compiled, **request)

    assert (answer["variant"], answer["version"], answer["reason"]) == (
        decision.variant,
        decision.version,
        decision.reason,
    )
    mirrored = {shadow["version"] for shadow in answer["shadows"] if shadow["mirrored"]}
    assert mirrored == {shadow.version for shadow in decision.shadows}
    matched = [rule for rule in answer["rules"] if rule["matched"]]
    if decision.reason.startswith("rule:"):
        assert matched[0]["variant"] == decision.variant
    bidders = [one for one in answer["split"]["variants"] if one["score"] is not None]
    if decision.reason in {"split", "only"}:
        assert matched == []
        assert min(bidders, key=lambda one: one["score"])["variant"] == decision.variant
    if decision.reason == "fallback":
        able = [one for one in bidders if one["available"]]
        assert min(able, key=lambda one: one["score"])["variant"] == decision.variant
    if decision.key:
        assert answer["split"]["key"] == decision.key


@pytest.mark.parametrize("field", ["headers", "parameters"])
@given(policies(), requests(), st.text(max_size=5))
def test_what_no_rule_and_no_key_looks_at_does_not_matter(
    field: str, policy: Policy, request: dict[str, Any], value: str
) -> None:
    """Decisions depend on the request only through what the policy names."""
    compiled = compile_policy(policy)
    noisy = request | {field: request[field] | {"x-noise": value}}
    assert decide(compiled, **noisy) == decide(compiled, **request)
