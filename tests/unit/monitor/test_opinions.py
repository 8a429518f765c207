"""What is shown beside the alarms, or leads to a warning: estimates without labels, ADWIN, explanations."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.drift.binning import Binner
from router.drift.layout import SCORE_GRID
from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.evaluation import Standing
from router.monitor.label_free_estimate import LabelFreeEstimate, hint_of
from router.monitor.labels import Label, Pairing, second_opinion
from router.monitor.reach import Reach
from router.monitor.state import Arm, SecondOpinion
from router.performance.baseline import Baseline, Metric
from router.performance.calibration import calibrated
from router.performance.estimate import estimate
from router.performance.severity import Severity
from tests.watched import MODEL, SETTINGS, Log, arrived, profile, rows, scores, truth

PROFILE = profile()
DOCUMENT = encode_profile(PROFILE)
ARM = Arm(MODEL, 1, "stable")
REACH = Reach(frozenset({"stable"}))
LATER = 1e12


def book() -> Book:
    return Book(SETTINGS, lambda _model, _version: DOCUMENT)


def test_an_estimate_from_counts_is_that_from_the_scores_themselves() -> None:
    """The grid of the pane costs next to nothing."""
    said = scores(rows(1, 4000, shift=0.5))
    knots = PROFILE.calibration
    assert knots is not None
    window = Binner(PROFILE).bin_rows({"score": said[:, None]}, "output", np.zeros(4000, np.int64))
    found = hint_of(PROFILE, window, LabelFreeEstimate()).metrics["accuracy"]
    exact = estimate(Metric.ACCURACY, said, calibrated(said, knots.scores, knots.probabilities))

    assert len(window.scores) == SCORE_GRID
    assert (found.value, found.low, found.high) == pytest.approx(exact[:3], abs=0.003)
    assert found.n == 4000


def test_unsure_answers_in_two_windows_are_a_critical_hint_and_never_an_emergency() -> None:
    """All inputs move to where the model is right half the time; labels say nothing yet."""
    made, log = book(), Log()
    for seed, severity in ((1, None), (2, "critical")):
        x = rows(seed, 200) * 0.01
        made.enter(arrived(log.records(x)))
        made.judge(log.at + 1)
        transitions = made.evaluate((MODEL, 1), log.at, Standing(REACH, target=7))
        assert made.arms[ARM].hint.latest is Severity.CRITICAL
        assert made.arms[ARM].hint.severity is (Severity.OK if severity is None else Severity.CRITICAL)
    acts = [each.act.value for each in transitions]
    worst = transitions[-1].incident

    assert "roll_back" not in acts
    assert "retrain" in acts
    assert worst.severity == "critical"
    assert worst.evidence["stable"]["estimate"]["drop"] > 0.1


def test_adwin_sees_losses_change_and_acts_on_nothing() -> None:
    """A model that becomes better: a change, told with the loss before it, and no incident."""
    made, log = book(), Log()
    x = rows(3, 3000)
    kept = made.enter(arrived(log.records(x)))
    values = np.concatenate([truth(x[:1000]), (scores(x[1000:]) >= 0.5).astype(float)])
    labels = [
        Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at))
        for each, value in zip(kept, values.tolist(), strict=True)
    ]
    for start in range(0, 3000, 70):
        made.learn(MODEL, labels[start : start + 70])
    opinion = made.arms[ARM].second_opinion

    assert opinion.changes >= 1
    assert opinion.last_change_at > 1000
    assert opinion.mean_before > 0
    assert made.evaluate((MODEL, 1), LATER, Standing(REACH, target=7)) == []


def test_adwin_goes_on_where_it_was_stored() -> None:
    """In whatever portions the losses came, through bytes and back."""
    losses = np.concatenate([np.zeros(400), np.ones(200)]).tolist()
    whole, parts = second_opinion(SecondOpinion(), losses), SecondOpinion()
    for start in range(0, 600, 37):
        parts = second_opinion(parts, losses[start : start + 37])
        parts = msgspec.msgpack.decode(msgspec.msgpack.encode(parts), type=SecondOpinion)

    assert whole.changes >= 1
    assert parts.changes == whole.changes
    assert parts.last_change_at == whole.last_change_at
    assert parts.mean_before == pytest.approx(whole.mean_before)


def test_an_alarm_is_explained_by_the_features_that_tell_its_rows_from_quiet_ones() -> None:
    """The one that moved, with most of the weight; gone with the alarm."""
    made, log = book(), Log()
    made.enter(arrived(log.records(rows(4, 800))))
    made.judge(LATER)
    assert made.arms[ARM].explanation is None
    made.enter(arrived(log.records(rows(5, 600, shift=1.5))))
    made.judge(LATER)
    explanation = made.arms[ARM].explanation
    (opened,) = made.evaluate((MODEL, 1), LATER, Standing(REACH, target=None))

    assert explanation is not None
    assert explanation.auc > 0.7
    assert next(iter(explanation.features)) == "x[0]"
    assert opened.incident.evidence["stable"]["explanation"]["features"]["x[0]"] > 0.5


def test_drift_from_the_first_row_on_has_no_explanation() -> None:
    """There are no quiet rows to compare with, and none are made up."""
    made, log = book(), Log()
    made.enter(arrived(log.records(rows(6, 800, shift=1.5))))
    made.judge(LATER)

    assert made.arms[ARM].verdict is not None
    assert made.arms[ARM].explanation is None


def test_a_drop_is_only_estimated_where_the_watched_metric_can_be() -> None:
    """A profile without calibration counts no scores."""
    plain = msgspec.structs.replace(PROFILE, calibration=None, baselines=(Baseline(Metric.ACCURACY, 0.9, 0.8, 1, 9),))
    window = Binner(plain).bin_rows({"score": np.full((9, 1), 0.5)}, "output", np.zeros(9, np.int64))

    assert len(window.scores) == 0
    assert hint_of(plain, window, LabelFreeEstimate()) == LabelFreeEstimate()
