"""Which arms of a version requests still reach: only their verdicts count against it. Pure.

A verdict is about a stretch of traffic. It stands while that traffic goes on, and says nothing once the arm gets none:
the shadow that has been taken away, the canary that was promoted under another name, the version that was rolled back.
The policy tells, and not how long an arm has been silent, since a night without clients ends no incident. It cannot
tell of requests that name the version in their URL: an arm that only these reach counts while some came of late.

A label is about the version that gave the answer, however late it comes: see `heir_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from router.monitor.state import OTHER_ARM, SHADOW_ARM, ArmState
from router.policy.document import Policy

#: An arm that only requests with the version in their URL reach counts for this long after the last of them.
PINNED_FOR_S: Final = 3600.0
#: Name of the arm of answers by a version that is in no variant.
_NO_VARIANT: Final = ""


class Reach(NamedTuple):
    """How the arms of one version can be reached."""

    routed: frozenset[str] = frozenset()
    """The policy sends them requests, or copies."""
    pinnable: frozenset[str] = frozenset({_NO_VARIANT, OTHER_ARM})
    """Only requests that name the version in their URL do."""
    serves: bool = False
    """It has a share of the traffic."""

    def counts(self, arm: str, answered_at: float, now: float) -> bool:
        """Tell whether the verdicts of an arm count.

        Args:
            arm: its name.
            answered_at: Unix seconds of its last answer.
            now: Unix seconds.
        """
        return arm in self.routed or (arm in self.pinnable and now - answered_at <= PINNED_FOR_S)


def reach_of(policy: Policy | None, version: int) -> Reach:
    """Read from a model's policy, None where it has none, how requests reach a version."""
    if policy is None:
        return Reach()
    own = {variant.name: variant.weight for variant in policy.variants if variant.version == version}
    ruled = {rule.variant for rule in policy.rules}
    routed = {name for name, weight in own.items() if weight or name in ruled}
    if any(shadow.version == version and shadow.sample for shadow in policy.shadows):
        routed.add(SHADOW_ARM)
    pinnable = {_NO_VARIANT, OTHER_ARM} | (set(own) - routed)
    return Reach(frozenset(routed), frozenset(pinnable), serves=any(own.values()))


def follow(arms: Mapping[str, ArmState], reach: Reach, now: float) -> tuple[dict[str, ArmState], list[str]]:
    """Note which arms of a version left or came back; one that came back is judged by what it does from now on.

    Args:
        arms: of the version, by name; changed.
        reach: how requests reach the version.
        now: Unix seconds.

    Returns:
        The arms that requests reach; names of those that left or came back.
    """
    reached = {name: state for name, state in arms.items() if reach.counts(name, state.answered_at, now)}
    moved = [name for name, state in arms.items() if state.retired == (name in reached)]
    for name in moved:
        if name in reached:
            arms[name].begin_anew()
        arms[name].retired = name not in reached
    return reached, moved


def heir_of(arms: Mapping[str, ArmState], name: str) -> str:
    """Tell which arm of a version labels of an arm's answers count against.

    Its own one while requests reach that. After that, the one that answered last of those that requests reach: a canary
    that was promoted is the same version under another name. A shadow leaves nothing: no client got its answers.
    """
    if not arms[name].retired or name == SHADOW_ARM:
        return name
    heirs = [each for each, state in arms.items() if not state.retired and each != SHADOW_ARM]
    return max(heirs, key=lambda each: (arms[each].answered_at, each), default=name)
