"""Metrics equal scikit-learn's; their intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from router.performance.baseline import Baseline, Metric, Task
from router.performance.loss import BLOCK_ROWS, bounded_losses
from router.performance.metrics import TASK_METRICS, baselines, measure

Floats = npt.NDArray[np.float64]


def binary(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    score = np.round(rng.beta(1, 2, rows), 2)
    return score, (rng.random(rows) < score).astype(float)


def test_metrics_of_a_binary_model_equal_scikit_learns() -> None:
    """Ties in the scores included."""
    score, truth = binary(2000)
    said = score >= 0.5
    expected = {
        Metric.ACCURACY: sk.accuracy_score(truth, said),
        Metric.AUC: sk.roc_auc_score(truth, score),
        Metric.F1: sk.f1_score(truth, said),
        Metric.BRIER: sk.brier_score_loss(truth, score),
        Metric.LOG_LOSS: sk.log_loss(truth, np.clip(score, 1e-6, 1 - 1e-6)),
    }

    for metric, value in expected.items():
        assert measure(metric, Task.BINARY, score, truth).value == pytest.approx(value, rel=1e-4), metric


def test_metrics_of_a_regression_equal_scikit_learns() -> None:
    """MAPE leaves out labels of zero."""
    rng = np.random.default_rng(0)
    truth = rng.normal(10, 2, 500)
    said = truth + rng.normal(size=500)
    task = Task.REGRESSION

    assert measure(Metric.MAE, task, said, truth).value == pytest.approx(sk.mean_absolute_error(truth, said))
    assert measure(Metric.RMSE, task, said, truth).value == pytest.approx(sk.root_mean_squared_error(truth, said))
    mape = measure(Metric.MAPE, task, np.append(said, 1.0), np.append(truth, 0.0))
    assert mape.n == 500
    assert mape.value == pytest.approx(sk.mean_absolute_percentage_error(truth, said))


@pytest.mark.parametrize("metric", TASK_METRICS[Task.BINARY])
def test_an_interval_holds_the_truth_about_19_times_in_20(metric: Metric) -> None:
    """Of 300 samples of 400 rows, against the value of a large sample."""
    score, truth = binary(400_000, seed=1)
    true = measure(metric, Task.BINARY, score, truth).value
    held = 0
    for start in range(0, 300 * 400, 400):
        found = measure(metric, Task.BINARY, score[start : start + 400], truth[start : start + 400])
        held += found.low <= true <= found.high

    assert 0.90 <= held / 300 <= 0.99


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.F1, Metric.ACCURACY, Metric.MAE])
def test_no_rows_and_one_class_determine_little(metric: Metric) -> None:
    """NaN, never an exception; no baseline is made of them."""
    nothing = np.array([])

    assert np.isnan(measure(metric, Task.BINARY, nothing, nothing).value)
    assert baselines(Task.BINARY, np.array([0.2, 0.3]), np.zeros(2), [Metric.AUC]) == ()


@given(st.sampled_from([Metric.ACCURACY, Metric.MAE, Metric.RMSE]), st.floats(0.01, 0.6), st.floats(0.01, 0.3))
def test_a_drop_of_the_metric_and_of_its_loss_are_one(metric: Metric, loss: float, drop: float) -> None:
    """`loss_after` and `drop_of_loss` are inverse where the loss is not cut."""
    baseline = Baseline(metric, 1.0, 1.0, 1.0, 100, loss)
    if baseline.loss_after(drop) < 1:
        assert baseline.drop_of_loss(baseline.loss_after(drop)) == pytest.approx(drop)


@pytest.mark.parametrize(("metric", "value", "worse"), [(Metric.ACCURACY, 0.9, 0.855), (Metric.MAE, 2.0, 2.1)])
def test_a_drop_is_relative_and_positive_when_things_got_worse(metric: Metric, value: float, worse: float) -> None:
    """5 % of the baseline, in the metric's own direction."""
    assert Baseline(metric, value, value, value, 100).drop(worse) == pytest.approx(0.05)


def test_an_uncertain_baseline_excuses_the_model() -> None:
    """The null of an alarm is as bad as the baseline's own error allows."""
    sure, unsure = (Baseline(Metric.ACCURACY, 0.9, 0.8, 0.95, 100, 0.1, error) for error in (0.0, 0.03))

    assert unsure.excused_loss_after(0.05) > sure.excused_loss_after(0.05) == sure.loss_after(0.05)


def test_the_mean_of_the_pair_losses_is_one_minus_the_auc() -> None:
    """Also when the share of positives changes: that is why it is watched instead of accuracy."""
    score, truth = binary(60_000, seed=2)
    area = measure(Metric.AUC, Task.BINARY, score, truth).value
    positive = truth == 1
    rare = np.flatnonzero(~positive | (np.random.default_rng(0).random(len(truth)) < 0.3))

    for rows in (np.arange(len(truth)), rare):
        losses, _ = bounded_losses(Metric.AUC, Task.BINARY, score[rows], truth[rows])
        assert losses.mean() == pytest.approx(1 - area, abs=0.012)


@given(st.lists(st.integers(0, 300), max_size=6).map(sorted))
def test_pair_losses_do_not_depend_on_how_labels_were_batched(cuts: list[int]) -> None:
    """What a block lacks waits in `pending`."""
    score, truth = binary(300, seed=3)
    whole, _ = bounded_losses(Metric.AUC, Task.BINARY, score, truth)
    found: list[float] = []
    pending: tuple[tuple[float, float], ...] = ()
    for start, end in zip([0, *cuts], [*cuts, 300], strict=True):
        losses, pending = bounded_losses(Metric.AUC, Task.BINARY, score[start:end], truth[start:end], pending=pending)
        found += losses.tolist()

    assert found == whole.tolist()
    assert len(pending) < BLOCK_ROWS


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.floats(1e-3, 1e3))
def test_bounded_losses_are_bounded(values: list[float], scale: float) -> None:
    """Whatever a regression says."""
    said = np.array(values)
    losses, _ = bounded_losses(Metric.MAE, Task.REGRESSION, said, np.zeros(len(said)), scale=scale)

    assert np.all((losses >= 0) & (losses <= 1))
