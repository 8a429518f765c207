"""The split at each step of a rollout: candidate, a control arm of the same size, and the rest. Pure.

While the candidate has w basis points, `control` has w too, carved out of the base variant and served by the base's
version, so that the two are compared like for like: same hours, same number of requests, same way of choosing keys.

Variants are identified by name in the rendezvous split, and this is what that means here:

- candidate and control always grow by the same factor, and the base only shrinks. Scores are `-log(u) / weight`, so the
  order between candidate and control does not change and both only gain on the base: no key ever leaves the candidate.
- A key that moves between base and control moves between two names of one version: no caller can tell.
- Above 50 % the control arm is what is left; it shrinks, and again the candidate only gains.
- With one variant the salt can change without moving anybody. So a rollout that starts from one deals the keys anew by
  its own id, and it is not the same users who meet every new version first.
- In the end the base variant keeps its name and takes the new version: all keys, none moved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from router.policy.document import MOST_SHADOWS, Policy, ShadowRule, Variant, parse_policy, to_document, useful_shadows
from router.policy.plan import ShadowStage
from router.policy.shares import WHOLE_BP
from serving.protocol.errors import invalid

CANDIDATE = "canary"
CONTROL = "control"


class Roles(NamedTuple):
    """The names that play a part in one rollout."""

    base: str
    candidate: str


def cast(policy: Policy, version: int) -> Roles:
    """Find who plays which part when `version` is to take over a policy.

    Raises:
        ServingError: INVALID, the policy leaves it open, or the version has everything already.
    """
    weighted = [variant for variant in policy.variants if variant.weight]
    bases = [variant for variant in weighted if variant.version != version]
    if not bases:
        raise invalid(f"version: {version} already answers all of the split")
    if len(bases) > 1:
        names = ", ".join(variant.name for variant in bases)
        raise invalid(f"version: {names} share the split, so it is open what {version} replaces; settle that first")
    mine = [variant for variant in policy.variants if variant.version == version]
    if len(mine) > 1:
        raise invalid(f"version: {version} is more than one variant; leave one")
    taken = {variant.name for variant in policy.variants}
    if CONTROL in taken:
        raise invalid(f"variants: the name {CONTROL!r} is needed for the control arm; rename that variant")
    if not mine and CANDIDATE in taken:
        raise invalid(f"variants: {CANDIDATE!r} is another version; remove that variant first")
    return Roles(bases[0].name, mine[0].name if mine else CANDIDATE)


def shares_at(step_bp: int) -> tuple[int, int, int]:
    """Divide the whole at a step: candidate, control, base."""
    control = min(step_bp, WHOLE_BP - step_bp)
    return step_bp, control, WHOLE_BP - step_bp - control


def at_step(policy: Policy, *, roles: Roles, version: int, step_bp: int, salt: str) -> Policy:
    """Give the candidate its share; `policy` may be from before the rollout or from an earlier step of it."""
    variants = {variant.name: variant for variant in policy.variants}
    is_first = CONTROL not in variants
    alone = sum(variant.weight > 0 for variant in policy.variants) == 1
    stable = variants[roles.base].version
    candidate_bp, control_bp, base_bp = shares_at(step_bp)
    candidate = variants.get(roles.candidate) or Variant(roles.candidate, version, candidate_bp)
    variants[roles.base] = msgspec.structs.replace(variants[roles.base], weight=base_bp)
    variants[CONTROL] = Variant(CONTROL, stable, control_bp)
    variants[roles.candidate] = msgspec.structs.replace(candidate, version=version, weight=candidate_bp)
    changed = msgspec.structs.replace(
        policy,
        variants=tuple(variants.values()),
        salt=salt if is_first and alone and policy.salt is None else policy.salt,
    )
    return parse_policy(to_document(changed))


def promoted(policy: Policy, *, roles: Roles, version: int, salt: str | None, aliases: Collection[str] = ()) -> Policy:
    """Give the base variant's name and all of the split to the version.

    The base goes on following its alias if that is one of `aliases`, which point to the version; any other would lead
    it back to where that points.

    The candidate's variant stays, without weight, only where a rule names it; a rule for the control arm leads to the
    base, whose version it was. A shadow of the version goes: it would mirror what it answers.
    """
    base = next(variant for variant in policy.variants if variant.name == roles.base)
    taking_over = msgspec.structs.replace(base, version=version, weight=WHOLE_BP)
    if base.alias not in aliases:
        taking_over = Variant(roles.base, version, WHOLE_BP)
    rules = tuple(
        msgspec.structs.replace(rule, variant=roles.base) if rule.variant == CONTROL else rule for rule in policy.rules
    )
    ruled = {rule.variant for rule in rules}
    others = tuple(
        msgspec.structs.replace(variant, weight=0)
        for variant in policy.variants
        if variant.name not in {roles.base, CONTROL} and (variant.name != roles.candidate or variant.name in ruled)
    )
    changed = msgspec.structs.replace(
        policy,
        variants=(
            taking_over,
            *(msgspec.structs.replace(each, weight=0) for each in others),
        ),
        rules=rules,
        shadows=tuple(shadow for shadow in policy.shadows if shadow.version != version),
        salt=salt,
    )
    return parse_policy(to_document(changed))


def restored(policy: Policy, good: Policy) -> Policy:
    """Bring back the split of `good`; what else was changed meanwhile stays, as far as it fits.

    A rule for a variant that goes, goes too: its requests are split like all others.
    """
    names = {variant.name for variant in good.variants}
    rules = tuple(rule for rule in policy.rules if rule.variant in names)
    changed = msgspec.structs.replace(policy, variants=good.variants, salt=good.salt, rules=rules)
    return parse_policy(to_document(msgspec.structs.replace(changed, shadows=useful_shadows(changed))))


def mirrored(policy: Policy, version: int, stage: ShadowStage) -> Policy:
    """Copy traffic to the version, in place of a shadow of it that was there.

    Raises:
        ServingError: INVALID, the policy has as many shadows as it may.
    """
    shadow = ShadowRule(version, stage.sample, stage.timeout_ms)
    others = tuple(each for each in policy.shadows if each.version != version)
    return parse_policy(to_document(msgspec.structs.replace(policy, shadows=(*others, shadow))))


def unmirrored(policy: Policy, good: Policy, version: int) -> Policy:
    """Take back what `mirrored` did: the version's shadow is what it was in `good`, unless others took its place."""
    others = tuple(each for each in policy.shadows if each.version != version)
    before = tuple(each for each in good.shadows if each.version == version and len(others) < MOST_SHADOWS)
    changed = msgspec.structs.replace(policy, shadows=(*others, *before))
    return msgspec.structs.replace(changed, shadows=useful_shadows(changed))


def shadow_of(policy: Policy, version: int) -> ShadowRule | None:
    """Find the shadow of a version."""
    return next((each for each in policy.shadows if each.version == version), None)


def same_split(one: Policy, other: Policy) -> bool:
    """Tell whether two policies divide the keys alike, whatever else they say."""
    return (_weights(one), one.salt, one.sticky) == (_weights(other), other.salt, other.sticky)


def share_of(policy: Policy, version: int) -> int:
    """Basis points of the split that a version answers."""
    return sum(variant.weight for variant in policy.variants if variant.version == version)


def _weights(policy: Policy) -> Mapping[str, tuple[int, int]]:
    return {variant.name: (variant.version, variant.weight) for variant in policy.variants if variant.weight}
