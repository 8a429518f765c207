"""A rollout that begins as a shadow: copies first, a share only when their answers have been compared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.analysis.counts import Counts
from router.analysis.verdict import Verdict
from router.policy.document import Policy, ShadowRule, Variant, parse_policy
from router.policy.plan import Plan, ShadowAgreement, ShadowStage
from router.rollout import operator_acts
from router.rollout.advance import advance
from router.rollout.checks import judge_copies
from router.rollout.evidence import Counters, Observation
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout
from router.rollout.split import shadow_of
from router.rollout.writes import KeepTrying, SetPolicy, Turn
from serving.protocol.errors import ServingError
from tests.rollouts import EPOCH_S, NEW, base_policy, started

STAGE = ShadowStage(sample=2000, min_requests=50, min_time_s=5)
PLAN = Plan(steps=(1000, 10_000), shadow=STAGE, checks=(ShadowAgreement(min_rate=0.9),))


class Story:
    """A rollout turn by turn, two seconds apart."""

    def __init__(self, plan: Plan = PLAN, policy: Policy | None = None) -> None:
        self.policy, self.revision = policy or base_policy(), 1
        self.rollout: Rollout = started(plan, self.policy)
        self.now, self.compared, self.differ = EPOCH_S, 0, 0
        self.copies: dict[str, int] = {}

    def turn(self, **observed: Any) -> Rollout:
        return self.look(**observed).rollout

    def look(self, **observed: Any) -> Turn:
        self.now += 2.0
        counters = Counters(comparisons={NEW: (self.compared, self.differ)}, copies={NEW: dict(self.copies)})
        turn = advance(self.rollout, Observation(self.policy, self.revision, counters, **observed), self.now)
        self.rollout = turn.rollout
        for command in turn.commands:
            if isinstance(command, SetPolicy) and command.write.expected_revision == self.revision:
                self.policy, self.revision = command.write.policy, self.revision + 1
        return turn

    def edit(self, **changes: Any) -> None:
        self.policy, self.revision = msgspec.structs.replace(self.policy, **changes), self.revision + 1

    def shadowing(self) -> Story:
        """Go on until the shadow is in force and its evidence has begun."""
        while self.rollout.step_origin is None:
            self.turn()
        return self


def test_the_version_gets_copies_and_no_share() -> None:
    """As the plan says; the split is as it was."""
    story = Story().shadowing()
    shadow = shadow_of(story.policy, NEW)
    assert story.rollout.phase is Phase.SHADOWING
    assert shadow is not None
    assert shadow.sample == 2000
    assert (story.rollout.share_bp, story.policy.variants) == (0, base_policy().variants)


def test_it_goes_on_when_enough_answers_have_been_compared_and_agree() -> None:
    """Not by time alone; the shadow ends with the first step, and another's stays."""
    story = Story(policy=base_policy(shadows=[{"version": 9}])).shadowing()
    phases = [story.turn().phase for _ in range(10)]
    assert set(phases) == {Phase.SHADOWING}
    story.compared = 500
    assert story.turn().phase is Phase.PROGRESSING
    assert [shadow.version for shadow in story.policy.shadows] == [9]
    assert "500 answers as a shadow compared" in story.rollout.words


def test_a_shadow_that_disagrees_too_often_never_gets_a_share() -> None:
    """Where the plan asks for agreement; without, disagreeing is what it was trained for."""
    story = Story().shadowing()
    story.compared, story.differ = 500, 250
    for _ in range(5):
        story.turn()
    assert story.rollout.phase is Phase.FAILED
    assert story.policy == base_policy()
    story = Story(msgspec.structs.replace(PLAN, checks=())).shadowing()
    story.compared, story.differ = 500, 250
    for _ in range(5):
        story.turn()
    assert story.rollout.phase is Phase.PROGRESSING


def test_a_version_that_stops_loading_as_a_shadow_fails() -> None:
    """Its shadow is taken away again."""
    story = Story().shadowing()
    for _ in range(3):
        story.turn(candidate_state="failed", candidate_reason="killed again and again")
    assert story.rollout.phase is Phase.FAILED
    assert shadow_of(story.policy, NEW) is None


def test_a_shadow_whose_copies_fail_never_gets_a_share() -> None:
    """They leave no answers to compare, so nothing else would end it."""
    story = Story().shadowing()
    story.copies = {"model_failed": 20}
    for _ in range(3):
        story.turn()
    assert story.rollout.phase is Phase.FAILED
    assert "20 of 20 copies" in story.rollout.words
    assert story.policy == base_policy()


def test_copies_that_come_late_prove_nothing_and_are_told_of() -> None:
    """Shadows get what time primaries leave: late answers hold the rollout back and do not end it."""
    story = Story().shadowing()
    story.copies, story.compared = {"ok": 100, "deadline": 900}, 100
    turns = [story.look() for _ in range(5)]
    assert story.rollout.phase is Phase.SHADOWING
    assert "900 of 1000 copies" in turns[-1].findings[-1].words
    story.copies, story.compared = {"ok": 2000, "deadline": 900}, 2000
    assert story.turn().phase is Phase.PROGRESSING


def test_copies_fail_as_often_as_their_originals_where_clients_are_at_fault() -> None:
    """The version that serves is the measure."""
    copies = {"ok": 700, "invalid": 300}
    assert judge_copies(copies, Counts(1000, 300)) is None
    judged = judge_copies(copies, Counts(1000, 0))
    assert judged is not None
    assert judged.verdict is Verdict.FAIL


def test_whoever_removes_the_shadow_by_hand_ends_the_rollout() -> None:
    """Another write of the policy is taken along."""
    story = Story().shadowing()
    story.edit(salt="experiment-1")
    assert story.turn().phase is Phase.SUPERSEDED
    story = Story().shadowing()
    story.edit(rules=parse_policy({**RULED}).rules)
    assert story.turn().phase is Phase.SHADOWING
    story.edit(shadows=())
    assert story.turn().phase is Phase.SUPERSEDED


RULED = {
    "model": "flights",
    "variants": [{"name": "stable", "version": 3, "weight": 10_000}],
    "rules": [{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "stable"}],
}


def test_a_shadow_that_was_there_before_is_there_again_afterwards() -> None:
    """Aborted, the policy is what it was."""
    policy = base_policy(shadows=[{"version": NEW, "sample": 100}])
    story = Story(policy=policy).shadowing()
    story.rollout = operator_acts.abort(story.rollout, story.policy, story.now, actor="ada", reason="not now")
    story.turn()
    story.turn()
    assert (story.rollout.phase, story.policy) == (Phase.ABORTED, policy)


def test_agreement_is_judged_on_the_copies_of_its_own_shadow() -> None:
    """What it answered last month as somebody's shadow was compared with another version; also at the steps."""
    story = Story()
    story.compared, story.differ = 10_000, 9_000
    story.shadowing()
    story.compared += 500
    while story.rollout.phase is Phase.SHADOWING:
        story.turn()
    for _ in range(5):
        findings = story.look().findings
    assert story.rollout.phase is Phase.PROGRESSING
    assert "100.0 % of 500 shadow answers agree" in findings[0].words


@pytest.mark.parametrize("is_shadow", [False, True])
def test_a_version_that_will_be_tried_again_is_waited_for(*, is_shadow: bool) -> None:
    """A registry that is away is no fault of the version; one that is given up is."""
    story = Story(PLAN if is_shadow else msgspec.structs.replace(PLAN, shadow=None, checks=()))
    if is_shadow:
        story.shadowing()
    phase = story.rollout.phase
    for _ in range(3):
        turn = story.look(candidate_state="failed", candidate_reason="registry away", candidate_retried=True)
        assert (turn.rollout.phase, turn.commands) == (phase, () if is_shadow else (KeepTrying(NEW),))
    if not is_shadow:
        assert story.rollout.words == "version 4 does not load yet: registry away"
    story.turn(candidate_state="failed", candidate_reason="given up")
    assert story.turn().phase is Phase.FAILED


@pytest.mark.parametrize("stage", [None, STAGE])
def test_no_other_version_gets_the_share_of_the_one_that_is_rolled_out(stage: ShadowStage | None) -> None:
    """Somebody makes a variant of the name without weight meanwhile, and the split is as before: the rollout ends."""
    story = Story(msgspec.structs.replace(PLAN, shadow=stage))
    story.turn(candidate_state="loading")
    story.edit(variants=(*story.policy.variants, Variant("canary", 9, 0)))
    assert story.turn().phase is Phase.SUPERSEDED
    assert "canary" in story.rollout.words
    assert [variant.weight for variant in story.policy.variants] == [10_000, 0]


def test_a_dark_variant_of_the_version_becomes_the_canary() -> None:
    """Made by hand while the rollout waits; its name stays."""
    story = Story(msgspec.structs.replace(PLAN, shadow=None, checks=()))
    story.turn(candidate_state="loading")
    story.edit(variants=(*story.policy.variants, Variant("trial", NEW, 0)))
    for _ in range(3):
        story.turn()
    assert {variant.name: variant.weight for variant in story.policy.variants} == {
        "stable": 8000,
        "control": 1000,
        "trial": 1000,
    }


@pytest.mark.parametrize("until", [Phase.PROGRESSING, Phase.BAKING])
def test_other_changes_of_the_policy_are_taken_along(until: Phase) -> None:
    """A shadow of another version, or a dark variant under a free name, at a step and after promotion."""
    story = Story(msgspec.structs.replace(PLAN, shadow=None, checks=()))
    while story.rollout.phase is not until or story.rollout.write is not None:
        if story.rollout.phase is Phase.PROGRESSING and story.rollout.write is None:
            story.rollout = operator_acts.promote(
                story.rollout, story.policy, story.now, full=False, actor="ada", reason="urgent"
            )
        story.turn()
    story.edit(shadows=(ShadowRule(9),), variants=(*story.policy.variants, Variant("dark", 8, 0)))
    assert (story.turn().phase, story.turn().phase) == (until, until)


def test_a_rollout_whose_shadow_has_no_place_any_more_says_so_and_ends() -> None:
    """The policy has grown to as many shadows as it may."""
    story = Story()
    story.turn(candidate_state="loading")
    story.edit(shadows=tuple(ShadowRule(version) for version in range(20, 28)))
    for _ in range(2):
        story.turn()
    assert story.rollout.phase is Phase.FAILED
    assert "its next policy cannot be made: shadows:" in story.rollout.words


def test_an_operator_may_skip_it_but_not_pause_it() -> None:
    """There is nothing to hold: it has no share."""
    story = Story().shadowing()
    with pytest.raises(ServingError, match="shadowing cannot pause"):
        operator_acts.pause(story.rollout, story.now, actor="ada", reason="wait")
    story.rollout = operator_acts.promote(
        story.rollout, story.policy, story.now, full=False, actor="ada", reason="urgent"
    )
    story.turn()
    assert story.rollout.share_bp == 1000
