"""A reference profile: what it says of the data, and what is refused as one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.binning import Binner, column_binner
from router.drift.building import ColumnData, build_profile, columns_of, quantile_edges
from router.drift.profile import (
    CategoricalColumn,
    NumericColumn,
    Profile,
    UnfitProfile,
    decode_profile,
    encode_profile,
    profile_sha256,
)
from router.performance.baseline import Metric, Task

RNG = np.random.default_rng(0)


def profile(rows: int = 2000) -> Profile:
    x = RNG.normal(size=(rows, 4))
    score = 1 / (1 + np.exp(-x[:, 0]))
    return build_profile(
        [*columns_of({"x": x}, "input"), *columns_of({"score": score}, "output")],
        task=Task.BINARY,
        score="score",
        labels=(RNG.random(rows) < score).astype(float),
    )


def test_a_profile_survives_its_document() -> None:
    """Encode and decode are inverse; equal profiles have one name."""
    built = profile()
    document = encode_profile(built)

    assert decode_profile(document) == built
    assert profile_sha256(document) == profile_sha256(encode_profile(decode_profile(document)))


def test_a_profile_knows_bins_relations_calibration_and_baselines() -> None:
    """Everything that the monitor needs is in it."""
    built = profile()
    names = [column.name for column in built.columns]

    assert names == ["x[0]", "x[1]", "x[2]", "x[3]", "score", "reconstruction_error"]
    assert built.relations is not None
    assert built.calibration is not None
    assert [baseline.metric for baseline in built.baselines][:2] == [Metric.ACCURACY, Metric.AUC]
    assert sum(built.column("x[0]").counts) == 2000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": 2}, "schema"),
        ({"rows": 0}, "rows"),
        ({"columns": []}, "columns"),
        ({"surprise": 1}, "surprise"),
        ({"score": "nobody"}, "nobody"),
        ({"model_sha256": "short"}, "model_sha256"),
        ({"calibration": {"scores": [0.5, 0.1], "probabilities": [0.1, 0.2]}}, "scores must be strictly ascending"),
        ({"calibration": {"scores": [0.1, 0.5], "probabilities": [0.3, 0.2]}}, "must not decrease"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused_by_name(change: dict[str, object], named: str) -> None:
    """Nobody downstream checks again."""
    document = msgspec.json.decode(encode_profile(profile(200))) | change

    with pytest.raises(UnfitProfile, match=named):
        decode_profile(msgspec.json.encode(document))


@pytest.mark.parametrize("change", [{"edges": [0.0, 0.0, 1.0]}, {"counts": [1, 2, 3]}, {"deviation": -1}])
def test_a_column_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    """Edges ascend, each bin has a count, a deviation is not negative."""
    document = msgspec.json.decode(encode_profile(profile(200)))
    document["columns"][0] |= change

    with pytest.raises(UnfitProfile):
        decode_profile(msgspec.json.encode(document))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(document: bytes) -> None:
    """It is a profile, or `UnfitProfile` is raised."""
    with pytest.raises(UnfitProfile):
        decode_profile(document)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(2, 20))
def test_edges_ascend_and_enclose_the_reference(values: list[float], bins: int) -> None:
    """Whatever the values: ties, one value, few values."""
    edges = quantile_edges(np.array(values), bins)

    assert list(edges) == sorted(set(edges))
    assert len(edges) <= bins + 1
    assert edges[0] < min(values)
    assert max(values) < edges[-1]


@given(st.lists(st.integers(0, 12).map(lambda tenth: tenth / 10), min_size=2, max_size=200))
def test_a_value_keeps_its_bin_through_single_precision(values: list[float]) -> None:
    """Edges lie between values, so FP32 on the wire does not move a row across one."""
    built = build_profile([ColumnData("x", np.array(values), "x", 0, "input", "numeric")])
    to_bins = column_binner(built.columns[0])

    assert np.array_equal(to_bins(np.array(values)), to_bins(np.array(values, dtype=np.float32)))


def test_bins_of_a_continuous_column_are_about_equally_full() -> None:
    """Quantile edges."""
    column = profile(10_000).column("x[1]")

    assert isinstance(column, NumericColumn)
    assert column.counts[:2] == (0, 0)
    assert all(count == pytest.approx(1000, abs=1) for count in column.counts[2:-1])


def test_few_whole_numbers_are_categories_unless_told_otherwise() -> None:
    """Day of the week is no quantity."""
    day = {"day": np.arange(700) % 7}

    assert isinstance(build_profile(columns_of(day, "input")).columns[0], CategoricalColumn)
    assert isinstance(build_profile(columns_of(day, "input", kinds={"day": "numeric"})).columns[0], NumericColumn)


def test_rare_categories_share_a_bin_and_are_not_new() -> None:
    """`other` is known, `unseen` is not."""
    values = np.array(["a"] * 900 + ["b"] * 99 + ["rare"], dtype=object)
    column = build_profile(columns_of({"letter": values}, "input")).columns[0]
    bins = column_binner(column)(np.array([b"a", b"b", b"rare", b"strange"], dtype=object))

    assert isinstance(column, CategoricalColumn)
    assert (column.categories, column.rare) == (("a", "b"), ("rare",))
    assert bins.tolist() == [3, 4, 2, 1]


def test_a_seasonal_profile_counts_by_hour() -> None:
    """24 strata that sum to the whole."""
    rows = 480
    built = build_profile(columns_of({"x": RNG.normal(size=rows)}, "input"), hours=np.arange(rows) % 24)
    column = built.columns[0]

    assert len(column.hourly) == 24
    assert np.sum(column.hourly, axis=0).tolist() == list(column.counts)


def test_a_column_that_wanders_by_itself_says_how_far() -> None:
    """A slow wave is far from its own mean in every stretch; independent rows are not."""
    wave = np.sin(np.linspace(0, 20, 4000)) + RNG.normal(scale=0.1, size=4000)
    built = build_profile(columns_of({"x": np.column_stack([wave, RNG.normal(size=4000)])}, "input"), stretches=8)

    assert built.columns[0].wander > 0.3
    assert built.columns[1].wander < 0.02


def test_columns_of_different_lengths_are_no_reference() -> None:
    """Nor are none."""
    with pytest.raises(ValueError, match="same number of rows"):
        build_profile([*columns_of({"x": np.zeros(3)}, "input"), *columns_of({"y": np.zeros(4)}, "input")])
    with pytest.raises(ValueError, match="at least one"):
        build_profile([])


def test_a_binner_fits_every_profile_it_is_given() -> None:
    """Also one without relations."""
    assert Binner(profile(30)).layout.size > 0
