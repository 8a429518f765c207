"""A policy prepared for deciding: everything that does not depend on the request is done here, once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from router.policy.bucketing import Arm, choose, keyed_hasher, make_arms
from router.policy.document import Condition, Policy, ShadowRule, Variant
from router.policy.shares import WHOLE_BP
from serving.protocol.messages import Parameter

#: Sticky keys whose decision is remembered, per policy; about 2 MB when all are used and as long as user ids are.
REMEMBERED_KEYS: Final = 8192
#: Characters of a key that is remembered, and recorded, as it is: clients may send one as long as a body.
MAX_KEY_CHARS: Final = 256


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Where one request goes. Shared between requests where nothing in it differs: compare by value."""

    variant: str
    """Name of the variant; empty for a pinned version that no variant has."""
    version: int
    reason: str
    key: str = ""
    """What was hashed to choose, in the form of `recorded_key`; empty when nothing was."""
    shadows: tuple[ShadowRule, ...] = ()
    """Who else gets a copy; never the version that answers."""


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to test: `matches` takes the text of the header or parameter, None when absent."""

    header: str
    """Lower-case name; empty when the rule looks at a parameter."""
    parameter: str
    matches: Callable[[str | None], bool]
    decision: Decision


@dataclass(frozen=True, slots=True)
class ShadowSampler:
    """A shadow ready to sample: requests whose draw is below `threshold`, of 2^64, are mirrored."""

    rule: ShadowRule
    threshold: int
    hasher: blake2b


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy ready to decide with."""

    policy: Policy
    arms: tuple[Arm, ...]
    """The variants with weight."""
    arm_variants: tuple[Variant, ...]
    """Position by position the variants of `arms`."""
    split: Callable[[str], Decision]
    """Decides by a key that is seen once, such as a request's id."""
    split_known: Callable[[str], Decision]
    """The same for a sticky key of at most `MAX_KEY_CHARS`, remembered: customers come back, and a look-up costs a
    tenth of the hashing."""
    only: Decision | None
    """The answer of the split when one variant has the whole weight."""
    rules: tuple[CompiledRule, ...]
    pins: Mapping[int, Decision]
    """By version, for the versions that are variants."""
    sticky_header: str
    """Lower-case name; empty when the key is no header."""
    sticky_parameter: str
    samplers: tuple[ShadowSampler, ...]


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Prepare a policy for `decide`."""
    salt = policy.salt or policy.model
    weighted = tuple(variant for variant in policy.variants if variant.weight > 0)
    by_name = {variant.name: variant for variant in policy.variants}
    pins: dict[int, Decision] = {}
    for variant in policy.variants:
        pins.setdefault(variant.version, Decision(variant.name, variant.version, "pin"))
    arms = make_arms(salt, ((variant.name, variant.weight) for variant in weighted))
    split = _splitter(arms, weighted)
    return CompiledPolicy(
        policy=policy,
        arms=arms,
        arm_variants=weighted,
        split=split,
        split_known=lru_cache(maxsize=REMEMBERED_KEYS)(split),
        only=Decision(weighted[0].name, weighted[0].version, "only") if len(weighted) == 1 else None,
        rules=tuple(
            CompiledRule(
                header=(rule.when.header or "").lower(),
                parameter=rule.when.parameter or "",
                matches=_matcher(rule.when),
                decision=Decision(rule.variant, by_name[rule.variant].version, f"rule:{index}"),
            )
            for index, rule in enumerate(policy.rules)
        ),
        pins=pins,
        sticky_header=policy.sticky.name.lower() if policy.sticky.by == "header" else "",
        sticky_parameter=policy.sticky.name if policy.sticky.by == "parameter" else "",
        samplers=tuple(
            ShadowSampler(rule, rule.sample * 2**64 // WHOLE_BP, keyed_hasher("shadow", salt, str(rule.version)))
            for rule in policy.shadows
            if rule.sample > 0
        ),
    )


def key_bytes(key: str) -> bytes:
    """Encode a key for hashing; a lone surrogate, which JSON can smuggle in, is no error."""
    return key.encode("utf-8", "surrogatepass")


def key_text(value: Parameter) -> str:
    """Give a parameter the one text that stands for it over every protocol: 42, 42.0 and "42" are one key.

    JSON clients and gRPC clients type the same identifier differently, and a header has only text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return hex(value)  # Python refuses to write thousands of digits in decimal, and a client may send them
    return str(value)


def recorded_key(key: str) -> str:
    """Give a key the form in which decisions and records hold it: a long one as its digest, which tells it as well."""
    if len(key) <= MAX_KEY_CHARS:
        return key
    return f"blake2b:{blake2b(key_bytes(key), digest_size=16).hexdigest()}"


def _splitter(arms: Sequence[Arm], variants: Sequence[Variant]) -> Callable[[str], Decision]:
    def split(key: str) -> Decision:
        variant = variants[choose(arms, key_bytes(key))]
        return Decision(variant.name, variant.version, "split", recorded_key(key))

    return split


def _matcher(condition: Condition) -> Callable[[str | None], bool]:
    if condition.present is not None:
        wanted = condition.present
        return lambda text: (text is not None) is wanted
    if condition.prefix is not None:
        prefix = condition.prefix
        return lambda text: text is not None and text.startswith(prefix)
    values = condition.one_of if condition.one_of is not None else (condition.equals,)
    accepted: frozenset[str | None] = frozenset(key_text(value) for value in values if value is not None)
    return accepted.__contains__
