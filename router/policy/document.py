"""The policy document: what an operator writes to say where a model's requests go. Pure.

One document per served model composes variants with weights, rules, a sticky key and shadows. It is a value: changed by
writing a new one. `parse_policy` is the only way in and reports every mistake by the name of the field, so a `Policy`
in hand is always consistent and nobody downstream checks again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from router.policy.plan import Plan, check_plan, explain, spelled_out
from router.policy.shares import WHOLE_BP, BasisPoints
from router.policy.validation import field_error
from serving.protocol.errors import invalid

# `\Z` and spelled-out ASCII: `$` would let a trailing newline pass and `\w` every script's letters.
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z"

Name = Annotated[str, msgspec.Meta(pattern=_NAME_PATTERN)]
VersionNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
FieldName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
#: Shadows that a policy may have.
MOST_SHADOWS: Final = 8
# No fractions: whoever must match one writes it as text.
Scalar = Annotated[str, msgspec.Meta(max_length=1024)] | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | bool


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A version with a share of the model's traffic."""

    name: Name
    """The variant's identity for the split: a new version under an old name keeps its keys."""
    version: VersionNumber
    weight: BasisPoints
    """Share in basis points; 0 is a dark launch: warm, reached by pin or rule only."""
    alias: Name | None = None
    """An alias of the registry that `version` follows."""
    on_move: Literal["swap", "rollout"] = "swap"
    """What becomes of a move: all of the variant's share goes to the new version at once, or a rollout begins."""
    plan: Plan | None = None
    """Of that rollout; None: the default plan."""


class Sticky(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the key of the split comes from; requests of one key get one variant."""

    by: Literal["header", "parameter", "request_id"] = "request_id"
    name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    """Header (= gRPC metadata) or parameter name; empty for `request_id`."""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A test of one header or one parameter: exactly one subject and exactly one comparison.

    Values are compared as text, in the form that `decision.key_text` gives parameters.
    """

    header: FieldName | None = None
    parameter: FieldName | None = None
    equals: Scalar | None = None
    one_of: Annotated[tuple[Scalar, ...], msgspec.Meta(min_length=1, max_length=1024)] | None = msgspec.field(
        default=None, name="in"
    )
    prefix: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] | None = None
    present: bool | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that meet `when` go to `variant`, whatever its weight."""

    when: Condition
    variant: Name


class ShadowRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mirror a sample of the requests to a version whose answers nobody waits for."""

    version: VersionNumber
    sample: BasisPoints = WHOLE_BP
    """Share of the requests in basis points."""
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=600_000)] = 500
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64
    """Shadow requests of one router at a time; past it they are dropped and counted."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the requests for one model go. Precedence: pinned version, then rules in order, then the split."""

    model: Name
    # The cost of a decision grows with the number of variants and rules, hence the bounds.
    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1, max_length=64)]
    sticky: Sticky = Sticky()
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=256)] = ()
    shadows: Annotated[tuple[ShadowRule, ...], msgspec.Meta(max_length=MOST_SHADOWS)] = ()
    salt: Name | None = None
    """Names the experiment: another salt deals the keys anew, independently. None: the model's name."""


def parse_policy(document: Any) -> Policy:
    """Check a document as JSON or YAML gives it and return it as a value.

    Raises `ServingError(INVALID)` whose message starts with the field at fault, e.g. `variants[1].weight: …`.
    """
    try:
        policy = msgspec.convert(_with_plans_spelled_out(document), Policy)
    except msgspec.ValidationError as error:
        raise field_error(explain(str(error)), "policy") from None
    _check_variants(policy)
    _check_followers(policy)
    _check_sticky(policy.sticky)
    _check_rules(policy)
    _check_shadows(policy)
    return policy


def to_document(policy: Policy) -> dict[str, Any]:
    """Return the document of a policy in plain JSON types; `parse_policy` of it gives the policy back."""
    # By way of JSON because `to_builtins` leaves tuples, which YAML writers and comparisons with JSON trip over.
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(policy))
    return document


def useful_shadows(policy: Policy) -> tuple[ShadowRule, ...]:
    """List the shadows that compare two versions: all but one of a version that is every variant."""
    # Beside other variants a shadow of a canary is useful: it compares both on the same inputs.
    answering = {variant.version for variant in policy.variants}
    return tuple(shadow for shadow in policy.shadows if answering != {shadow.version})


def versions_of(policy: Policy) -> tuple[int, ...]:
    """List every version that the policy may send a request to, shadows included, in rising order."""
    named = {variant.version for variant in policy.variants} | {shadow.version for shadow in policy.shadows}
    return tuple(sorted(named))


def _check_variants(policy: Policy) -> None:
    twice = _first_duplicate(variant.name for variant in policy.variants)
    if twice is not None:
        raise invalid(f"variants[{twice}].name: {policy.variants[twice].name!r} is used twice")
    total = sum(variant.weight for variant in policy.variants)
    if total != WHOLE_BP:
        raise invalid(f"variants: the weights sum to {total} basis points; they must sum to {WHOLE_BP} (100 %)")


def _check_followers(policy: Policy) -> None:
    for index, variant in enumerate(policy.variants):
        path = f"variants[{index}]"
        if variant.on_move != "swap" and variant.alias is None:
            raise invalid(f"{path}.on_move: says what becomes of an alias that moves, but the variant follows none")
        if variant.plan is not None:
            if variant.on_move != "rollout":
                raise invalid(f"{path}.plan: is for on_move: rollout")
            check_plan(variant.plan, f"{path}.plan.")


def _with_plans_spelled_out(document: Any) -> Any:
    if not isinstance(document, dict) or not isinstance(document.get("variants"), list | tuple):
        return document
    variants = [
        {**each, "plan": spelled_out(each["plan"])} if isinstance(each, dict) and "plan" in each else each
        for each in document["variants"]
    ]
    return {**document, "variants": variants}


def _check_sticky(sticky: Sticky) -> None:
    if sticky.by == "request_id":
        if sticky.name:
            raise invalid("sticky.name: must be left out when sticky.by is request_id")
    elif not sticky.name:
        raise invalid(f"sticky.name: is required when sticky.by is {sticky.by}")
    elif sticky.by == "header":
        _check_header_name("sticky.name", sticky.name)


def _check_rules(policy: Policy) -> None:
    names = {variant.name for variant in policy.variants}
    for index, rule in enumerate(policy.rules):
        _check_condition(f"rules[{index}].when", rule.when)
        if rule.variant not in names:
            known = ", ".join(sorted(names))
            raise invalid(f"rules[{index}].variant: there is no variant {rule.variant!r}; known: {known}")


def _check_condition(path: str, condition: Condition) -> None:
    if (condition.header is None) == (condition.parameter is None):
        raise invalid(f"{path}: needs exactly one of header, parameter")
    comparisons = (condition.equals, condition.one_of, condition.prefix, condition.present)
    if sum(comparison is not None for comparison in comparisons) != 1:
        raise invalid(f"{path}: needs exactly one of equals, in, prefix, present")
    if condition.header is not None:
        _check_header_name(f"{path}.header", condition.header)


def _check_shadows(policy: Policy) -> None:
    twice = _first_duplicate(shadow.version for shadow in policy.shadows)
    if twice is not None:
        raise invalid(f"shadows[{twice}].version: version {policy.shadows[twice].version} is shadowed twice")
    useful = useful_shadows(policy)
    for index, shadow in enumerate(policy.shadows):
        if shadow not in useful:
            raise invalid(
                f"shadows[{index}].version: every variant is version {shadow.version}, "
                "so this shadow would compare it with itself; remove the shadow"
            )


# RFC 9110 §5.6.2 `token`; a colon (gRPC and HTTP/2 pseudo-headers) is not in it.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _check_header_name(path: str, name: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise invalid(f"{path}: {name!r} is not a header name")


def _first_duplicate(values: Iterable[object]) -> int | None:
    """Return the position of the first value that was there before."""
    seen: Counter[object] = Counter()
    for index, value in enumerate(values):
        seen[value] += 1
        if seen[value] > 1:
            return index
    return None
