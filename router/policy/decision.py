"""Decide which variant answers a request, and say why. Pure.

`decide` runs on the hot path: a few microseconds, whatever the number of models. `explain` tells an operator how it
came to its answer.

Precedence: pinned version > first rule that matches > split. Reasons:

- `pin`       the URL names the version; never replaced, also when it is unavailable. It may be in no variant: then the
              decision's variant is empty. Pinned requests are not shadowed: they are probes, not the model's traffic;
- `rule:<i>`  rule number i of the document matched;
- `only`      one variant has the whole weight: no key needed;
- `split`     by the sticky key;
- `fallback`  what was chosen so is unavailable, and the key's next variant by rendezvous took its place. With nothing
              to take its place the choice stands, and the caller holds the request or answers 503.

A request without its sticky key (absent or empty) is split by its request id: spread by weight, not sticky.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.policy.bucketing import choose, draw, score
from router.policy.compiled import (
    MAX_KEY_CHARS,
    CompiledPolicy,
    CompiledRule,
    Decision,
    compile_policy,
    key_bytes,
    key_text,
    recorded_key,
)
from router.policy.document import ShadowRule, to_document
from router.policy.shares import WHOLE_BP
from serving.protocol.messages import Parameter

__all__ = ["CompiledPolicy", "Decision", "compile_policy", "decide", "explain"]

_NONE_UNAVAILABLE: frozenset[int] = frozenset()


def decide(
    compiled: CompiledPolicy,
    *,
    pinned: int | None,
    headers: Mapping[str, str],
    parameters: Mapping[str, Parameter],
    request_id: str,
    unavailable: frozenset[int] = _NONE_UNAVAILABLE,
) -> Decision:
    """Choose who answers the request and who gets a copy.

    `headers` has lower-case names; `unavailable` holds the versions that cannot answer now. Never fails.
    """
    if pinned is not None:
        return compiled.pins.get(pinned) or Decision("", pinned, "pin")
    decision = _match_rule(compiled, headers, parameters) or compiled.only
    if decision is None:
        key = sticky_key(compiled, headers, parameters)
        split = compiled.split_known if key and len(key) <= MAX_KEY_CHARS else compiled.split
        decision = split(key or request_id)
    if unavailable and decision.version in unavailable:
        key = sticky_key(compiled, headers, parameters) or request_id
        decision = _fall_back(compiled, key, unavailable) or decision
    if compiled.samplers:
        shadows = sample_shadows(compiled, request_id, decision.version)
        if shadows:
            return Decision(decision.variant, decision.version, decision.reason, decision.key, shadows)
    return decision


def sticky_key(compiled: CompiledPolicy, headers: Mapping[str, str], parameters: Mapping[str, Parameter]) -> str:
    """Read the request's sticky key; empty when it has none or the policy splits by request id."""
    if compiled.sticky_header:
        return headers.get(compiled.sticky_header, "")
    if compiled.sticky_parameter and compiled.sticky_parameter in parameters:
        return key_text(parameters[compiled.sticky_parameter])
    return ""


def rule_subject(rule: CompiledRule, headers: Mapping[str, str], parameters: Mapping[str, Parameter]) -> str | None:
    """Read the text that a rule looks at; None when the request does not have it."""
    if rule.header:
        return headers.get(rule.header)
    return key_text(parameters[rule.parameter]) if rule.parameter in parameters else None


def sample_shadows(compiled: CompiledPolicy, request_id: str, answering: int) -> tuple[ShadowRule, ...]:
    """List the shadows that get a copy of the request; each samples on its own, by request id."""
    sampled: list[ShadowRule] = []
    key = b""
    for sampler in compiled.samplers:
        if sampler.rule.version == answering:
            continue
        if sampler.rule.sample < WHOLE_BP:
            key = key or key_bytes(request_id)
            if draw(sampler.hasher, key) >= sampler.threshold:
                continue
        sampled.append(sampler.rule)
    return tuple(sampled)


def _match_rule(
    compiled: CompiledPolicy, headers: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> Decision | None:
    for rule in compiled.rules:
        if rule.matches(rule_subject(rule, headers, parameters)):
            return rule.decision
    return None


def _fall_back(compiled: CompiledPolicy, key: str, unavailable: frozenset[int]) -> Decision | None:
    """Choose among the variants with weight that can answer; None when there are none."""
    able = [position for position, variant in enumerate(compiled.arm_variants) if variant.version not in unavailable]
    if not able:
        return None
    position = able[choose([compiled.arms[position] for position in able], key_bytes(key))]
    variant = compiled.arm_variants[position]
    return Decision(variant.name, variant.version, "fallback", recorded_key(key))


def explain(
    compiled: CompiledPolicy,
    *,
    pinned: int | None,
    headers: Mapping[str, str],
    parameters: Mapping[str, Parameter],
    request_id: str,
    unavailable: frozenset[int] = _NONE_UNAVAILABLE,
) -> dict[str, Any]:
    """Return `decide`'s answer in plain JSON types, with every step that led to it.

    `split` gives what each variant bids for the key, the smallest winning, also when a pin or rule made it moot: it is
    where the request would go without them. Header names may come in any case here, as an operator types them.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    decision = decide(
        compiled,
        pinned=pinned,
        headers=headers,
        parameters=parameters,
        request_id=request_id,
        unavailable=unavailable,
    )
    sampled = {shadow.version for shadow in decision.shadows}
    return {
        "model": compiled.policy.model,
        "variant": decision.variant,
        "version": decision.version,
        "reason": decision.reason,
        "pinned": pinned,
        "unavailable": sorted(unavailable),
        "rules": _explain_rules(compiled, headers, parameters),
        "split": _explain_split(compiled, headers, parameters, request_id, unavailable),
        "shadows": [
            {"version": shadow.version, "sample": shadow.sample, "mirrored": shadow.version in sampled}
            for shadow in compiled.policy.shadows
        ],
    }


def _explain_rules(
    compiled: CompiledPolicy, headers: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> list[dict[str, Any]]:
    """Describe the rules up to the first that matches; those after it play no part."""
    explained: list[dict[str, Any]] = []
    for rule, document in zip(compiled.rules, to_document(compiled.policy).get("rules", ()), strict=True):
        value = rule_subject(rule, headers, parameters)
        matched = rule.matches(value)
        explained.append({**document, "value": value, "matched": matched})
        if matched:
            break
    return explained


def _explain_split(
    compiled: CompiledPolicy,
    headers: Mapping[str, str],
    parameters: Mapping[str, Parameter],
    request_id: str,
    unavailable: frozenset[int],
) -> dict[str, Any]:
    key = sticky_key(compiled, headers, parameters)
    sticky = compiled.policy.sticky
    scores = {arm.name: score(arm, key_bytes(key or request_id)) for arm in compiled.arms}
    return {
        "key": key or request_id,
        "key_from": f"{sticky.by} {sticky.name}" if key else "request_id",
        "sticky_key_missing": sticky.by != "request_id" and not key,
        "salt": compiled.policy.salt or compiled.policy.model,
        "variants": [
            {
                "variant": variant.name,
                "version": variant.version,
                "weight": variant.weight,
                "score": scores.get(variant.name),
                "available": variant.version not in unavailable,
            }
            for variant in compiled.policy.variants
        ],
    }
