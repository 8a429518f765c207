"""Trials: the two arms of a rollout counted on one reference, and judged against each other."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.analysis.verdict import Verdict
from router.drift.binning import Binner
from router.drift.profile import Profile
from router.monitor.counting import count
from router.monitor.labels import Label, Pairing
from router.monitor.state import Arm
from router.monitor.trial import Trial, Trials
from router.monitor.trial_verdict import judge_metric, judge_predictions
from router.performance.baseline import Metric
from router.requestlog.record import Record
from tests.watched import MODEL, SETTINGS, START, Log, arrived, profile, rows, truth

PROFILE = profile()
CANARY, CONTROL = Arm(MODEL, 2, "canary"), Arm(MODEL, 1, "control")
TRIAL = Trial(id="r1", canary=CANARY, control=CONTROL, since=START, metrics=(Metric.ACCURACY, Metric.AUC))


def begun(reference: Profile | None = PROFILE, trial: Trial = TRIAL) -> Trials:
    made = Trials()
    made.begin(trial, reference)
    return made


def answers(arm: Arm, seed: int, count: int, *, shift: float = 0.0, start: float = START) -> list[Record]:
    log = Log(version=arm.version, at=start)
    return log.records(rows(seed, count, shift=shift), variant=arm.name)


def labelled(records: list[Record], values: np.ndarray) -> list[Pairing]:
    """Join answers with labels as the monitor does."""
    binner = Binner(PROFILE)
    _, kept = count(arrived(records), lambda _version: binner, SETTINGS.window)
    return [
        Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at + 60))
        for each, value in zip(kept, values.tolist(), strict=True)
    ]


def test_arms_that_predict_alike_pass_and_one_that_predicts_otherwise_fails() -> None:
    """Inputs of the canary moved by a deviation, so its scores did; the words name the output."""
    for shift, verdict in ((0.0, Verdict.PASS), (1.0, Verdict.FAIL)):
        trials = begun()
        trials.enter(answers(CONTROL, 1, 3000))
        trials.enter(answers(CANARY, 2, 3000, shift=shift))
        found = judge_predictions(trials.states[MODEL], max_shift=0.1, alpha=0.05)
        assert found.verdict is verdict, found.words
        assert "output score" in found.words


def test_a_few_answers_are_no_verdict() -> None:
    """Neither way: a rollout holds."""
    trials = begun()
    assert judge_predictions(trials.states[MODEL], max_shift=0.1, alpha=0.05).verdict is Verdict.INCONCLUSIVE
    trials.enter([*answers(CONTROL, 1, 20), *answers(CANARY, 2, 20)])
    found = judge_predictions(trials.states[MODEL], max_shift=0.1, alpha=0.05)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.n == 40


def test_other_arms_earlier_answers_and_failures_count_nothing() -> None:
    """Variants keep their names from one rollout to the next."""
    trials = begun()
    trials.enter(answers(Arm(MODEL, 1, "stable"), 1, 50))
    trials.enter(answers(Arm(MODEL, 3, "canary"), 1, 50))
    trials.enter(answers(CANARY, 1, 50, start=START - 1000))
    trials.enter([msgspec.structs.replace(each, outcome="model_failed") for each in answers(CANARY, 1, 50)])
    trials.enter([msgspec.structs.replace(each, kind="shadow") for each in answers(CANARY, 1, 50)])
    assert judge_predictions(trials.states[MODEL], max_shift=0.1, alpha=0.05).n == 0


@pytest.mark.parametrize("metric", [Metric.ACCURACY, Metric.AUC])
def test_labels_that_contradict_one_arm_fail_it(metric: Metric) -> None:
    """Alike passes, three in ten more wrong does not; drops are relative to the control arm."""
    for wrong, verdict in ((0.0, Verdict.PASS), (0.3, Verdict.FAIL)):
        trials = begun()
        for arm, seed, share in ((CONTROL, 1, 0.0), (CANARY, 2, wrong)):
            records = answers(arm, seed, 4000)
            trials.learn(MODEL, labelled(records, truth(rows(seed, 4000), wrong=share, seed=seed)))
        found = judge_metric(trials.states[MODEL], metric, max_drop=0.1, alpha=0.05)
        assert found.verdict is verdict, found.words
        assert metric.value in found.words


def test_labels_of_another_kind_or_number_are_left_out() -> None:
    """A class 7 of a binary model, or two labels for one row, tell nothing of its accuracy."""
    trials = begun()
    (pairing,) = labelled(answers(CANARY, 1, 1), np.array([1.0]))
    trials.learn(
        MODEL, [pairing._replace(label=pairing.label._replace(values=values)) for values in ((7.0,), (1.0, 0.0))]
    )
    trials.learn(MODEL, [])
    assert trials.states[MODEL].canary.losses == {}


def test_a_metric_that_the_reference_has_no_baseline_of_is_never_decided() -> None:
    """And says what would help."""
    trial = msgspec.structs.replace(TRIAL, metrics=(Metric.MAE,))
    found = judge_metric(begun(trial=trial).states[MODEL], Metric.MAE, max_drop=0.1, alpha=0.05)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "shepherd model profile" in found.words


def test_a_trial_waits_for_the_reference_of_the_version_that_is_replaced() -> None:
    """Without bins nothing is counted."""
    trials = begun(None)
    trials.enter(answers(CANARY, 1, 10))
    assert trials.states == {}
    trials.begin(TRIAL, PROFILE)
    trials.enter(answers(CANARY, 1, 10))
    assert trials.states[MODEL].canary.predictions


def test_the_next_rollout_begins_with_nothing() -> None:
    """Also of the same two versions; asking again for the same one changes nothing."""
    trials = begun()
    trials.enter(answers(CANARY, 1, 10))
    trials.begin(TRIAL, PROFILE)
    assert trials.states[MODEL].canary.predictions
    trials.begin(msgspec.structs.replace(TRIAL, id="r2"), PROFILE)
    assert not trials.states[MODEL].canary.predictions


def test_what_is_read_back_goes_on_where_it_was_stored() -> None:
    """In whatever portions the answers came."""
    records = [*answers(CONTROL, 1, 300), *answers(CANARY, 2, 300)]
    whole, parts = begun(), begun()
    whole.enter(records)
    for start in range(0, len(records), 70):
        parts.enter(records[start : start + 70])
        successor = Trials()
        successor.restore({**parts.changes(), "arm flights 1 stable": b"not a trial"})
        parts = successor
    assert parts.states == whole.states
