"""A verdict on windows: large and beyond chance, raised once, cleared when it is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from router.drift.binning import Binner
from router.drift.building import build_profile, columns_of
from router.drift.pane import Pane
from router.drift.profile import Profile
from router.drift.quality import Fault, excess_p_value
from router.drift.verdict import ColumnState, DriftSettings, WindowVerdict, judge_window

Floats = npt.NDArray[np.float64]
SETTINGS = DriftSettings()


def normal(rows: int, shift: float = 0.0, seed: int = 0) -> Floats:
    drawn = np.random.default_rng(seed).normal(size=(rows, 4))
    drawn[:, 1] = 0.8 * drawn[:, 0] + 0.6 * drawn[:, 1]
    drawn[:, 2] += shift
    return drawn


PROFILE = build_profile(columns_of({"x": normal(10_000, seed=99)}, "input"))


def pane(profile: Profile, x: Floats, hours: Sequence[int] = (12,)) -> Pane:
    binner = Binner(profile)
    return binner.bin_rows({"x": x}, "input", np.resize(hours, len(x)))


def watch(profile: Profile, windows: Sequence[Floats], settings: DriftSettings = SETTINGS) -> list[WindowVerdict]:
    state: dict[str, ColumnState] = {}
    verdicts = []
    for window in windows:
        state, verdict = judge_window(profile, pane(profile, window), state, settings)
        verdicts.append(verdict)
    return verdicts


def test_a_clean_stream_raises_no_alarm() -> None:
    """200 windows, 5 columns."""
    assert not any(verdict.alarmed for verdict in watch(PROFILE, [normal(500, seed=i) for i in range(200)]))


def test_a_quarter_of_a_deviation_in_one_feature_is_found_within_ten_windows() -> None:
    """And named, alone."""
    verdicts = watch(PROFILE, [normal(500, shift=0.25, seed=i) for i in range(10)])

    assert verdicts[-1].alarmed == ("x[2]",)
    assert next(c for c in verdicts[-1].columns if c.name == "x[2]").wasserstein == pytest.approx(0.25, abs=0.12)


def test_a_broken_relation_is_found_though_every_feature_looks_the_same() -> None:
    """By the reconstruction error."""
    flipped = [normal(500, seed=i) * [1, -1, 1, 1] for i in range(4)]

    assert watch(PROFILE, flipped)[-1].alarmed == ("reconstruction_error",)


def test_significance_alone_is_no_drift() -> None:
    """200 000 rows prove a shift of 0.1 sd, which nobody needs to know."""
    verdict = watch(PROFILE, [normal(200_000, shift=0.1, seed=i) for i in range(3)])[-1]

    assert next(c for c in verdict.columns if c.name == "x[2]").q_value < 0.05
    assert (verdict.drifted, verdict.alarmed) == ((), ())


def test_effect_alone_is_no_drift() -> None:
    """A window of few rows has a large index by chance; its evidence is not counted either."""
    verdicts = watch(PROFILE, [normal(20, shift=3.0, seed=i) for i in range(50)])

    assert all((verdict.drifted, verdict.alarmed) == ((), ()) for verdict in verdicts)


def test_one_window_alone_never_alarms() -> None:
    """However strong: it may be one client's bulk request. It is reported as drifted all the same."""
    first, second = watch(PROFILE, [normal(500, shift=2.0, seed=i) for i in range(2)])

    assert "x[2]" in first.drifted
    assert first.alarmed == ()
    assert "x[2]" in second.alarmed


def test_an_alarm_stays_until_the_effect_was_small_several_times_in_a_row() -> None:
    """Hysteresis: three windows by default; a relapse starts the count anew."""
    good, bad = normal(3000, seed=1), normal(3000, shift=1.0, seed=2)
    alarmed = [bool(v.alarmed) for v in watch(PROFILE, [bad, bad, good, good, bad, good, good, good, good])]

    assert alarmed == [False, True, True, True, True, True, True, False, False]


def test_a_seasonal_profile_does_not_call_the_night_a_drift() -> None:
    """Each window is held against the mixture of its own hours; without hours it alarms."""
    rng = np.random.default_rng(0)
    hours = np.arange(12_000) % 24
    x = rng.normal(size=(12_000, 1)) + (hours >= 12)[:, None] * 2.0
    seasonal = build_profile(columns_of({"x": x}, "input"), hours=hours)
    plain = build_profile(columns_of({"x": x}, "input"))
    night = [rng.normal(size=(500, 1)) for _ in range(6)]

    def last(profile: Profile) -> WindowVerdict:
        state: dict[str, ColumnState] = {}
        for window in night:
            state, verdict = judge_window(profile, pane(profile, window, hours=range(12)), state, SETTINGS)
        return verdict

    assert last(plain).alarmed == ("x",)
    assert last(seasonal).alarmed == ()


def test_wandering_that_the_reference_shows_itself_is_forgiven() -> None:
    """A column with weeks of its own is not drifting when it has another such week; a new level is."""
    rng = np.random.default_rng(0)
    weekly = np.repeat(rng.uniform(-1, 1, 12), 500)[:, None] + rng.normal(size=(6000, 1)) * 0.5
    forgiving = build_profile(columns_of({"x": weekly}, "input"), stretches=12)
    naive = build_profile(columns_of({"x": weekly}, "input"))
    another = [rng.normal(0.6, 0.5, size=(500, 1)) for _ in range(4)]
    new_level = [rng.normal(4.0, 0.5, size=(500, 1)) for _ in range(4)]

    assert watch(naive, another)[-1].alarmed == ("x",)
    assert watch(forgiving, another)[-1].alarmed == ()
    assert watch(forgiving, new_level)[-1].alarmed == ("x",)


def faults(profile: Profile, x: Floats) -> list[tuple[Fault, str]]:
    return [(finding.fault, finding.column) for finding in watch(profile, [x])[0].faults]


def test_faults_of_the_data_are_named() -> None:
    """Missing, out of range, stuck; a clean window has none."""
    missing, outside, stuck = normal(500), normal(500), normal(500)
    missing[:50, 0] = np.nan
    outside[:50, 1] = 40.0
    stuck[:, 3] = 0.123

    assert faults(PROFILE, normal(500)) == []
    assert faults(PROFILE, missing) == [(Fault.MISSING, "x[0]")]
    assert faults(PROFILE, outside) == [(Fault.OUT_OF_RANGE, "x[1]")]
    assert faults(PROFILE, stuck) == [(Fault.STUCK, "x[3]")]


def test_new_categories_and_broken_payloads_are_faults() -> None:
    """A category never seen in the reference; payloads that are no tensors."""
    letters = build_profile(columns_of({"x": np.array([0.0, 1.0, 2.0] * 1000)}, "input"))
    strange = np.array([0.0, 1.0, 7.0] * 100)[:, None]

    assert faults(letters, strange) == [(Fault.NEW_CATEGORY, "x")]
    broken = Binner(letters).bin_payloads([b"nonsense"] * 9, [b""] * 9, [0.0] * 9)
    assert [finding.fault for finding in judge_window(letters, broken, {}, SETTINGS)[1].faults] == [Fault.SCHEMA]


def test_the_bound_on_chance_is_a_bound() -> None:
    """Chernoff's, beside the exact binomial tail."""
    from scipy.stats import binom

    for seen, rows, expected in ((5, 100, 0.01), (30, 100, 0.2), (3, 3, 0.5)):
        assert excess_p_value(seen, rows, expected) >= binom.sf(seen - 1, rows, expected)
    assert excess_p_value(1, 100, 0.01) == 1
