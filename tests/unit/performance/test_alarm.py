"""Alarms on a bounded loss: few false ones, a drop told soon and graded by its size, taken back when it is over."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.performance.alarm import GRADES, AlarmSettings, AlarmState, Grade, advance, bets
from router.performance.baseline import Baseline, Metric
from router.performance.severity import Severity

BASELINE = Baseline(Metric.ACCURACY, 0.9, 0.897, 0.903, 50_000, 0.1, 0.0013)
SETTINGS = AlarmSettings()


def losses(labels: int, drop: float, seed: int = 0) -> list[float]:
    """Wrong (1) and right (0) answers at this relative drop of accuracy."""
    drawn: list[float] = (np.random.default_rng(seed).random(labels) < 1 - 0.9 * (1 - drop)).astype(float).tolist()
    return drawn


def after(*runs: list[float], settings: AlarmSettings = SETTINGS) -> AlarmState:
    state = AlarmState()
    for run in runs:
        state = advance(state, run, BASELINE, settings)
    return state


def test_clean_labels_raise_nothing() -> None:
    """20 000 of them."""
    assert after(losses(20_000, 0.0)).severity is Severity.OK


@pytest.mark.parametrize(
    ("drop", "severity"), [(0.03, Severity.OK), (0.08, Severity.CRITICAL), (0.25, Severity.EMERGENCY)]
)
def test_a_drop_is_graded_by_its_size(drop: float, severity: Severity) -> None:
    """2 000 labels after it."""
    assert after(losses(2000, 0.0), losses(2000, drop, seed=2)).severity is severity


@pytest.mark.parametrize(("drop", "labels"), [(0.10, 1500), (0.16, 500), (0.25, 300)])
def test_a_critical_drop_is_told_within_so_many_labels(drop: float, labels: int) -> None:
    """In at least 9 of 10 runs."""
    told = [after(losses(1000, 0.0, i), losses(labels, drop, 100 + i)).severity for i in range(10)]

    assert sum(severity >= Severity.CRITICAL for severity in told) >= 9


def test_fewer_labels_than_asked_for_never_alarm() -> None:
    """99 wrong answers in a row are not enough, 100 are."""
    assert after([1.0] * 99).severity is Severity.OK
    assert after([1.0] * 100).severity is Severity.EMERGENCY


def test_a_severity_is_taken_back_when_the_drop_is_gone() -> None:
    """After a full window of good answers; the evidence goes with it."""
    bad = after(losses(1000, 0.3))
    good = advance(bad, losses(1500, 0.0, seed=3), BASELINE, SETTINGS)

    assert bad.severity is Severity.EMERGENCY
    assert good.severity is Severity.OK
    assert good.strength(2) < bad.strength(2)


@given(st.lists(st.integers(0, 400), max_size=8).map(sorted))
def test_the_state_does_not_depend_on_how_labels_were_batched(cuts: list[int]) -> None:
    """Killed and restarted in between, or fed one by one: the same."""
    drawn = losses(400, 0.2)
    state = AlarmState()
    for start, end in zip([0, *cuts], [*cuts, 400], strict=True):
        stored = msgspec.json.encode(advance(state, drawn[start:end], BASELINE, SETTINGS))
        state = msgspec.json.decode(stored, type=AlarmState)

    whole = after(drawn)
    assert state.severity == whole.severity
    assert state.evidence == whole.evidence


@given(st.lists(st.floats(0, 1), max_size=200), st.floats(0, 1), st.floats(0, 0.1))
def test_evidence_is_never_negative(drawn: list[float], loss: float, error: float) -> None:
    """Every bet leaves a positive factor, whatever the baseline."""
    baseline = Baseline(Metric.ACCURACY, 1 - loss, 1 - loss, 1 - loss, 100, loss, error)
    state = advance(AlarmState(), drawn, baseline, SETTINGS)

    assert all(value >= 0 for sums in state.evidence for value in sums)
    for grade in GRADES:
        m0, lambdas = bets(baseline, grade)
        assert all(1 - bet * m0 > 0 for bet in lambdas)


def test_the_run_length_at_the_null_is_at_least_what_is_stated() -> None:
    """At the very edge of the null, where the drop is half the grade's, without the measured size to help."""
    eager = AlarmSettings(grades=(Grade(Severity.CRITICAL, 0.05, 300.0),), window=10, least_losses=1)
    m0, _ = bets(BASELINE, eager.grades[0])
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(60):
        state, length = AlarmState(), 0
        while state.strength(0) < 300 and length < 3000:
            state = advance(state, (rng.random(10) < m0).astype(float).tolist(), BASELINE, eager)
            length += 10
        lengths.append(length)

    assert np.mean(lengths) >= 300
