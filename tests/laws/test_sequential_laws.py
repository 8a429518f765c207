"""The promise behind every verdict: however often one looks, a wrong FAIL or PASS stays as rare as alpha says.

Simulated with fixed seeds, so a failure is a change of the code, never bad luck. `loadtests.simulations` does the same
at length and writes docs/results/sequential-tests.md.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from router.analysis.beta_mixture import difference, proportion, share_band
from router.analysis.confidence_sequence import threshold
from router.analysis.counts import Counts, Histogram, Moments
from router.analysis.distribution import compare_distributions
from router.analysis.latency import compare_latency
from router.analysis.metric_drop import Shape, compare_metric
from router.analysis.proportion import compare_error_rates
from router.analysis.sample_ratio import log_evidence, sample_ratio
from router.analysis.verdict import Verdict

ALPHA = 0.05
RUNS = 200
LOOKS = (5, 10, 20, 40, 80, 120, 200, 300, 500, 800, 1200, 2000)

counts = st.integers(0, 400).flatmap(lambda n: st.builds(Counts, st.just(n), st.integers(0, n)))


def walks(rate: float, per_look: int = 1, *, seed: int) -> list[list[Counts]]:
    """Events among `per_look` times LOOKS requests, of each run at each look."""
    steps = np.diff([0, *(per_look * n for n in LOOKS)])
    events = np.random.default_rng(seed).binomial(steps, rate, (RUNS, len(steps))).cumsum(axis=1)
    return [[Counts(per_look * n, int(s)) for n, s in zip(LOOKS, run, strict=True)] for run in events]


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.3])
@pytest.mark.parametrize("control_per_canary", [1, 20])
def test_a_canary_that_is_alike_is_failed_in_fewer_than_alpha_of_the_runs(rate: float, control_per_canary: int) -> None:
    """A/A, a look after every step, from the fifth request on."""
    canary, control = walks(rate, seed=1), walks(rate, control_per_canary, seed=2)
    failed = sum(
        any(
            compare_error_rates(*pair, margin=0.0, alpha=ALPHA).verdict is Verdict.FAIL
            for pair in zip(*run, strict=True)
        )
        for run in zip(canary, control, strict=True)
    )
    assert failed <= ALPHA * RUNS


def test_a_canary_worse_by_more_than_the_margin_is_passed_in_fewer_than_alpha_of_the_runs() -> None:
    """The other error: never promote what is worse than allowed."""
    canary, control = walks(0.051, 5, seed=3), walks(0.02, 5, seed=4)
    passed = sum(
        any(
            compare_error_rates(*pair, margin=0.03, alpha=ALPHA).verdict is Verdict.PASS
            for pair in zip(*run, strict=True)
        )
        for run in zip(canary, control, strict=True)
    )
    assert passed <= ALPHA * RUNS


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5])
def test_a_probability_stays_inside_its_sequence(rate: float) -> None:
    """At all looks together, in 1 - alpha of the runs."""
    missed = 0
    for run in walks(rate, seed=5):
        sequence = [proportion(seen, ALPHA) for seen in run]
        missed += not all(interval.low <= rate <= interval.high for interval in sequence)
    assert missed <= ALPHA * RUNS


def test_two_arms_with_one_latency_are_failed_in_fewer_than_alpha_of_the_runs() -> None:
    """Also where the quantile lies inside a coarse bucket."""
    bounds = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
    rng = np.random.default_rng(6)
    shares = np.diff([0.0, *stats.lognorm(0.8, scale=0.005).cdf(bounds), 1.0])
    steps = np.diff([0, *LOOKS])
    failed = 0
    for _ in range(RUNS):
        arms = [[rng.multinomial(step, shares) for step in steps] for _ in range(2)]
        looks = zip(*(accumulate(arm) for arm in arms), strict=True)
        failed += any(_slower(bounds, one, two) for one, two in looks)
    assert failed <= ALPHA * RUNS


def _slower(bounds: tuple[float, ...], one: np.ndarray, two: np.ndarray) -> bool:
    mine, theirs = (Histogram(bounds, tuple(map(int, counts))) for counts in (one, two))
    finding = compare_latency(mine, theirs, quantile=0.9, max_ratio=1.0, alpha=ALPHA)
    return finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("control_per_canary", [1, 20])
def test_arms_that_predict_alike_are_failed_in_fewer_than_alpha_of_the_runs(control_per_canary: int) -> None:
    """With a limit of almost nothing, so that significance alone decides."""
    shares = [0.4, 0.2, 0.2, 0.1, 0.05, 0.03, 0.02]
    rng = np.random.default_rng(7)
    steps = np.diff([0, *LOOKS])
    failed = 0
    for _ in range(RUNS):
        one = accumulate(rng.multinomial(step, shares) for step in steps)
        two = accumulate(rng.multinomial(step * control_per_canary, shares) for step in steps)
        failed += any(
            compare_distributions(a.tolist(), b.tolist(), max_shift=1e-9, alpha=ALPHA).verdict is Verdict.FAIL
            for a, b in zip(one, two, strict=True)
        )
    assert failed <= ALPHA * RUNS


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("a", [0.05, 0.4])
def test_arms_that_do_alike_by_labels_are_failed_in_fewer_than_alpha_of_the_runs(shape: Shape, a: float) -> None:
    """Losses of any spread in [0, 1]; a drop of next to nothing is allowed, so chance alone decides."""
    rng = np.random.default_rng(9)
    failed = sum(_drops(rng, shape, (a, 1.0), (a, 1.0), max_drop=1e-9) is Verdict.FAIL for _ in range(RUNS))
    assert failed <= ALPHA * RUNS


def test_an_arm_that_does_worse_than_allowed_is_passed_in_fewer_than_alpha_of_the_runs() -> None:
    """Mean losses of 0.3 and 0.2: the gain is 12.5 % down where 12 % are allowed."""
    rng = np.random.default_rng(10)
    verdicts = [_drops(rng, Shape.MORE_IS_BETTER, (3, 7), (2, 8), max_drop=0.12) for _ in range(RUNS)]
    assert verdicts.count(Verdict.PASS) <= ALPHA * RUNS


def _drops(
    rng: np.random.Generator, shape: Shape, canary: tuple[float, float], control: tuple[float, float], max_drop: float
) -> Verdict:
    """Return the first verdict that is one; losses are drawn from Beta distributions."""
    losses = [rng.beta(*ab, LOOKS[-1]).tolist() for ab in (canary, control)]
    for n in LOOKS:
        mine, theirs = (Moments.of(each[:n]) for each in losses)
        found = compare_metric(mine, theirs, shape=shape, metric="m", max_drop=max_drop, alpha=ALPHA)
        if found.verdict is not Verdict.INCONCLUSIVE:
            return found.verdict
    return Verdict.INCONCLUSIVE


def test_a_split_that_is_kept_raises_no_mismatch() -> None:
    """One false alarm in a thousand experiments is the promise; none in these."""
    rng = np.random.default_rng(8)
    steps = np.diff([0, *LOOKS])
    alarms = 0
    for _ in range(RUNS):
        seen = accumulate(rng.multinomial(step, [0.9, 0.08, 0.02]) for step in steps)
        alarms += any(sample_ratio(s.tolist(), [9000, 800, 200], 0.001).verdict is Verdict.FAIL for s in seen)
    assert alarms == 0


def test_losing_a_tenth_of_an_arm_raises_the_mismatch() -> None:
    """47.4 % instead of 50 %: invisible to the eye, plain to the test."""
    assert sample_ratio([9_000, 10_000], [1, 1], 0.001).verdict is Verdict.FAIL


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=5))
def test_the_evidence_against_a_split_does_not_depend_on_the_order_of_arms(observed: list[int]) -> None:
    """Nor does it ever overflow."""
    shares = [1 / len(observed)] * len(observed)
    assert log_evidence(observed, shares) == pytest.approx(log_evidence(observed[::-1], shares), abs=1e-6)


@given(counts, counts)
def test_swapping_the_arms_mirrors_their_difference(one: Counts, two: Counts) -> None:
    """No arm is privileged."""
    here, there = difference(one, two, ALPHA), difference(two, one, ALPHA)
    assert here == pytest.approx((-there.high, -there.low))
    if one.total and two.total:
        assert here.low - 1e-9 <= one.rate - two.rate <= here.high + 1e-9


@given(counts, st.floats(0.001, 0.2))
def test_a_sequence_holds_its_estimate_and_the_fixed_interval_of_the_same_alpha(seen: Counts, alpha: float) -> None:
    """Peeking costs width: it is never narrower than half the interval for a single look."""
    interval = proportion(seen, alpha)
    assert 0 <= interval.low <= seen.rate <= interval.high <= 1
    if seen.total:
        sd = (seen.rate * (1 - seen.rate) / seen.total) ** 0.5
        assert interval.high - interval.low >= stats.norm.ppf(1 - alpha / 2) * sd


@given(st.floats(0.001, 0.999), st.integers(1, 100_000))
def test_a_share_band_holds_its_mean(p: float, n: int) -> None:
    """So a quantile's estimate lies between its bounds."""
    band = share_band(p, n, ALPHA)
    assert 0 <= band.low <= p <= band.high <= 1


@given(st.floats(1, 1e6), st.integers(1, 40))
def test_the_threshold_is_never_below_that_of_a_single_look(n: float, dimensions: int) -> None:
    """The chi-square quantile is what a test fixed at n would use."""
    assert threshold(n, ALPHA, dimensions=dimensions) >= stats.chi2.ppf(1 - ALPHA, dimensions)


@given(st.lists(st.floats(-1e3, 1e3), max_size=20), st.lists(st.floats(-1e3, 1e3), max_size=20))
def test_moments_add_up(one: list[float], two: list[float]) -> None:
    """Merging routers gives what one router would have seen."""
    merged, whole = Moments.of(one) + Moments.of(two), Moments.of(one + two)
    assert merged.total == whole.total
    assert (merged.mean, merged.deviation) == pytest.approx((whole.mean, whole.deviation), rel=1e-6, abs=1e-6)
    if len(one + two) > 1:
        assert whole.variance == pytest.approx(np.var(one + two, ddof=1), rel=1e-6, abs=1e-6)
