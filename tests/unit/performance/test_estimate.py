"""Performance without labels: right under covariate shift, blind to concept drift, never above critical."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from router.performance.baseline import Baseline, Metric, Task
from router.performance.calibration import MAX_KNOTS, calibrate, calibrated
from router.performance.estimate import ESTIMABLE, estimate, estimated_severity
from router.performance.metrics import Estimate, measure
from router.performance.severity import Severity

Floats = npt.NDArray[np.float64]
RNG = np.random.default_rng(0)


def labelled(rows: int, moved: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Scores that are too sure of themselves, the true probabilities, and labels."""
    x = RNG.normal(moved, 1.2, rows)
    true = 1 / (1 + np.exp(-x))
    return 1 / (1 + np.exp(-2 * x)), true, (RNG.random(rows) < true).astype(float)


@pytest.mark.parametrize("metric", ESTIMABLE)
@pytest.mark.parametrize("moved", [0.0, 1.0])
def test_the_estimate_follows_a_shift_of_the_inputs(metric: Metric, moved: float) -> None:
    """Calibrated on the reference, it is within 3 % of what labels say, though the scores are not calibrated."""
    scores, _, truth = labelled(40_000)
    knots, probabilities = calibrate(scores, truth)
    live, _, labels = labelled(20_000, moved)
    found = estimate(metric, live, calibrated(live, knots, probabilities))

    assert found.value == pytest.approx(measure(metric, Task.BINARY, live, labels).value, rel=0.03)


@pytest.mark.parametrize("metric", ESTIMABLE)
def test_the_interval_is_that_of_the_labels_chance(metric: Metric) -> None:
    """With true probabilities, what labels say lies inside about 19 times in 20."""
    held = 0
    for _ in range(200):
        scores, true, truth = labelled(500)
        found = estimate(metric, scores, true)
        held += found.low <= measure(metric, Task.BINARY, scores, truth).value <= found.high

    assert held >= 180


def test_calibration_is_isotonic_regression() -> None:
    """Near scikit-learn's on the reference, and never falling."""
    scores, _, truth = labelled(20_000)
    knots, probabilities = calibrate(scores, truth)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, truth).predict(scores)

    assert len(knots) <= MAX_KNOTS
    assert np.mean(np.abs(calibrated(scores, knots, probabilities) - theirs)) < 0.02


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60))
def test_a_calibration_never_falls_and_stays_a_probability(rows: list[tuple[float, bool]]) -> None:
    """Ties and single classes included."""
    scores, truth = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    knots, probabilities = calibrate(scores, truth)

    assert list(knots) == sorted(set(knots))
    assert list(probabilities) == sorted(probabilities)
    assert 0 <= min(probabilities) <= max(probabilities) <= 1


def test_an_estimate_never_calls_an_emergency() -> None:
    """It is a hint: it cannot see that the same inputs have come to mean something else."""
    baseline = Baseline(Metric.ACCURACY, 0.9, 0.9, 0.9, 1000, 0.1)
    grades = {value: estimated_severity(Estimate(value, value, value, 9), baseline) for value in (0.9, 0.84, 0.5, 0.0)}

    assert list(grades.values()) == [Severity.OK, Severity.WARNING, Severity.CRITICAL, Severity.CRITICAL]
    assert estimated_severity(Estimate(np.nan, np.nan, np.nan, 0), baseline) is Severity.OK


def test_regressions_are_not_estimated() -> None:
    """There is no probability to go by."""
    with pytest.raises(ValueError, match="mae"):
        estimate(Metric.MAE, np.array([1.0]), np.array([1.0]))
