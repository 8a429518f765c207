"""Laws of the rollout core, for whatever happens to it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.analysis.counts import Counts
from router.policy.document import Condition, Policy, Rule, ShadowRule, Variant, parse_policy, to_document
from router.policy.plan import Plan, ShadowStage, parse_plan, plan_document
from router.rollout import operator_acts
from router.rollout.advance import MAX_TICK_S, advance
from router.rollout.evidence import Observation
from router.rollout.hard_failure import Suspicion, watch
from router.rollout.phase import TERMINAL, Phase
from router.rollout.rollout import Rollout
from router.rollout.split import shadow_of
from router.rollout.writes import SetPolicy
from serving.protocol.errors import ServingError
from tests.rollouts import EPOCH_S, NEW, World, base_policy, rises, started

QUICK = Plan(steps=(1000, 4000, 10_000), min_requests=20, min_time_s=3, bake_s=3)
SHADOWED = msgspec.structs.replace(QUICK, shadow=ShadowStage(sample=5000, min_requests=50, min_time_s=2))
ACTS = ["pause", "resume", "promote", "full", "abort"]
WORLDLY = ["turn", "turn", "turn", "serve", "break", "shadow", "split", "jump", "back", "retry", "load"]
EDITS = ["rule", "eight shadows", "dark canary", "dark control", "many variants"]
HAPPENINGS = st.sampled_from(ACTS + WORLDLY + EDITS)


class Life:
    """A world in which operators, clocks and models do as Hypothesis pleases."""

    def __init__(self, seed: int, plan: Plan = QUICK) -> None:
        self.world = World(plan, seed)
        self.acts = {"actor": "ada", "reason": "whim"}

    def happen(self, what: str) -> None:
        world = self.world
        world.now += 1.0
        rollout = world.rollout
        has_place = what not in ACTS or what.replace("full", "promote") in operator_acts.allowed(rollout)
        try:
            match what:
                case "turn":
                    world.serve()
                    world.turn()
                case "serve":
                    world.serve()
                case "pause" | "resume":
                    act = operator_acts.pause if what == "pause" else operator_acts.resume
                    world.rollout = act(rollout, world.now, **self.acts)
                case "promote" | "full":
                    full = what == "full"
                    world.rollout = operator_acts.promote(rollout, world.policy, world.now, full=full, **self.acts)
                case "abort":
                    world.rollout = operator_acts.abort(rollout, world.policy, world.now, **self.acts)
                case "break":
                    world.new_errors = 0.9
                case "shadow":
                    self.edit(shadows=base_policy(shadows=[{"version": 9, "sample": 1 + world.revision}]).shadows)
                case "split":
                    self.edit(variants=base_policy().variants)
                case "jump" | "back":
                    world.now += 100_000 if what == "jump" else -100_000
                case "retry" | "load":
                    world.state = "failed" if what == "retry" else "ready"
                case _:
                    self.meddle(what)
            assert has_place
        except ServingError:
            assert world.rollout is rollout
            assert not has_place or what not in {"pause", "resume", "abort"}

    def meddle(self, what: str) -> None:
        """Somebody else edits what the split is not made of."""
        policy = self.world.policy
        names = {variant.name for variant in policy.variants}
        match what:
            case "rule":
                self.edit(rules=(Rule(Condition(header="x-cohort", present=True), policy.variants[-1].name),))
            case "eight shadows":
                self.edit(shadows=tuple(ShadowRule(version) for version in range(20, 28)))
            case "dark canary" | "dark control":
                name = what.removeprefix("dark ")
                self.edit(variants=(*policy.variants, *([] if name in names else [Variant(name, 9, 0)])))
            case "many variants":
                more = tuple(Variant(f"dark-{n}", 30 + n, 0) for n in range(64 - len(policy.variants)))
                self.edit(variants=(*policy.variants, *(each for each in more if each.name not in names)))

    def edit(self, **changes: Any) -> None:
        """Somebody else writes a policy, as far as it is one."""
        edited = msgspec.structs.replace(self.world.policy, **changes)
        self.world.policy = parse_policy(to_document(edited))
        self.world.revision += 1


@given(st.integers(0, 1000), st.sampled_from([QUICK, SHADOWED]), st.lists(HAPPENINGS, max_size=60))
@example(0, SHADOWED, ["turn", "turn", "promote", "abort", "split"])  # undone before it was in force
@example(0, QUICK, ["turn", "turn", "turn", "rule"])  # for the control arm, which promotion drops
@example(0, SHADOWED, ["eight shadows", "turn", "turn"])  # no place for its own
@example(0, QUICK, ["dark canary", "turn", "turn"])  # of another version
@example(0, SHADOWED, ["turn", "turn", "dark control", "turn"])
@example(0, QUICK, ["many variants", "turn"])
@settings(max_examples=200)
def test_whatever_happens_a_rollout_comes_to_an_end_and_the_traffic_is_where_it_says(
    seed: int, plan: Plan, happenings: list[str]
) -> None:
    """Total, absorbing, and honest about the policy that stands; a shadow of its own does not outlive it."""
    life = Life(seed, plan)
    for what in happenings:
        life.happen(what)
        if life.world.rollout.is_over:
            break
    world = life.world
    if world.rollout.phase is Phase.PAUSED:
        life.happen("resume")
    life.happen("load")
    rollout = world.run(5000)

    assert rollout.is_over, rollout.words
    share = sum(variant.weight for variant in world.policy.variants if variant.version == NEW)
    expected = {Phase.SUCCEEDED: 10_000, Phase.FAILED: 0, Phase.ABORTED: 0}.get(rollout.phase)
    assert expected in {None, share}
    assert parse_policy(to_document(world.policy)) == world.policy
    if rollout.phase is not Phase.SUPERSEDED:
        assert shadow_of(world.policy, NEW) is None
    assert advance(rollout, Observation(world.policy, world.revision), world.now).rollout is rollout


@given(st.integers(0, 1000), st.sampled_from([QUICK, SHADOWED]), st.lists(st.booleans(), min_size=50, max_size=400))
@settings(max_examples=60)
def test_a_controller_that_dies_between_deciding_and_acting_resumes_and_runs_no_step_twice(
    seed: int, plan: Plan, deaths: list[bool]
) -> None:
    """The decision is stored before the act, and the act is void once it has been done."""
    world = World(plan, seed)
    write = world.write
    dying = iter(deaths)

    def die_sometimes(command: SetPolicy) -> None:
        if not next(dying, False):
            write(command)

    world.write = die_sometimes  # type: ignore[method-assign]
    rollout = world.run(5000)

    assert rollout.phase is Phase.SUCCEEDED
    shadow_writes = [0] if plan is SHADOWED else []
    assert world.weights == [*shadow_writes, 1000, 4000, 10_000]
    assert world.revision == 1 + len(world.weights)


@given(st.integers(0, 1000))
@settings(max_examples=40)
def test_two_controllers_at_once_write_each_step_once(seed: int) -> None:
    """Both see the same record; the revision lets one of them through."""
    world = World(QUICK, seed)
    for _ in range(400):
        world.serve()
        twin = world.rollout
        world.turn()
        again = advance(twin, Observation(world.policy, world.revision, world.counters()), world.now)
        for command in again.commands:
            if isinstance(command, SetPolicy):
                world.write(command)
        world.now += 1
    assert rises(world.weights)
    assert world.rollout.phase is Phase.SUCCEEDED


@given(st.integers(0, 1000), st.floats(0, 100_000))
@settings(max_examples=50)
def test_without_requests_nothing_is_ever_promoted(seed: int, jump_s: float) -> None:
    """Time alone, also in jumps, is no evidence."""
    world = World(QUICK, seed, rate=0.0)
    for _ in range(30):
        world.serve()
        world.turn()
        world.now += jump_s
    assert world.weights == [1000]
    assert world.rollout.phase in {Phase.PROGRESSING, Phase.HOLDING}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
@settings(max_examples=50)
def test_a_clock_that_jumps_adds_no_more_than_a_tick_and_takes_nothing(jumps: list[float]) -> None:
    """So a plan's time at a step is time that was lived through."""
    world = World(Plan(steps=(1000, 10_000), min_time_s=1e6), 1)
    world.run(3)
    for jump in jumps:
        before = world.rollout.served_s
        world.now += jump
        world.turn()
        assert before <= world.rollout.served_s <= before + MAX_TICK_S


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_suspicion_forgets_good_times(good: int, failures: int) -> None:
    """A version that ran well for hours is caught as soon as one that never ran."""
    reference = Counts(10_000, 10)
    fresh = watch(Suspicion(), Counts(failures, failures), reference)
    veteran = watch(watch(Suspicion(), Counts(good, 0), reference), Counts(failures, failures), reference)
    assert veteran.is_alarm == fresh.is_alarm


@given(st.integers(0, 500), st.floats(0, 0.5))
def test_what_the_reference_suffers_too_is_no_alarm(n: int, rate: float) -> None:
    """When everybody fails alike, taking the traffic away would help nobody."""
    reference = Counts(10_000, round(10_000 * rate))
    failed = int(n * rate)
    assert not watch(Suspicion(), Counts(n, failed), reference).is_alarm


@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_terminal_rollouts_absorb_every_observation(phase: Phase) -> None:
    """Also a missing policy and a hard failure."""
    over: Rollout = msgspec.structs.replace(started(), phase=phase)
    for policy in (None, base_policy()):
        turn = advance(over, Observation(policy, 7, hard_failure="dead"), EPOCH_S)
        assert (turn.rollout is over, turn.commands) == (True, ())


@given(
    st.builds(
        Plan,
        steps=st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True).map(lambda s: tuple(sorted(s))),
        min_requests=st.integers(1, 10**6),
        min_time_s=st.floats(0, 1000),
    )
)
def test_a_plan_is_read_back_from_its_document(plan: Plan) -> None:
    """`rollout start` with what `rollout status -o json` shows is the same plan."""
    assert parse_plan(plan_document(plan)) == plan


def test_the_split_of_a_rollout_survives_json() -> None:
    """What is stored is what was decided."""
    rollout = World(QUICK, 3).run(20)
    assert msgspec.json.decode(msgspec.json.encode(rollout), type=Rollout) == rollout
    assert isinstance(rollout.good, Policy)
