"""Two answers to a golden example agree, or the first difference is put into words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.registry.golden import check_golden

FLOATS = npst.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


def difference(expected: object, actual: object, rtol: float = 1e-3, atol: float = 1e-5) -> str | None:
    return check_golden({"y": np.asarray(expected)}, {"y": np.asarray(actual)}, rtol=rtol, atol=atol)


def test_floats_within_tolerance_agree_and_beyond_it_do_not() -> None:
    """`|actual - expected| <= atol + rtol * |expected|`; the place and both values are told."""
    assert difference([1.0, 2.0], [1.0009, 2.0]) is None
    assert difference([1.0, 2.0], [1.0, 2.1]) == (
        "output 'y' differs in 1 of 2 elements; at [1] it is 2.1, recorded was 2.0"
    )


def test_integers_booleans_and_strings_must_be_equal() -> None:
    """A class that differs by one is another class."""
    assert difference([1000], [1001], rtol=0.5) is not None
    assert difference([True], [False], rtol=0.5) is not None
    assert difference(np.array([b"cat"], object), np.array([b"dog"], object)) is not None
    assert difference(np.array([b"cat"], object), np.array([b"cat"], object)) is None


def test_nan_agrees_with_nan_only() -> None:
    """A model may answer NaN, if it always did."""
    assert difference([np.nan], [np.nan]) is None
    assert difference([np.nan], [0.0]) is not None
    assert difference([0.0], [np.nan]) is not None


def test_infinities_agree_with_themselves_only() -> None:
    """No tolerance reaches that far."""
    assert difference([np.inf], [np.inf]) is None
    assert difference([np.inf], [-np.inf]) is not None
    assert difference([np.inf], [1e308]) is not None


def test_names_datatypes_and_shapes_are_compared_first() -> None:
    """A missing output is no numeric difference."""
    one = np.ones(1, np.float32)

    assert check_golden({"a": one}, {}, rtol=1, atol=1) == "output 'a' is missing"
    assert check_golden({}, {"a": one}, rtol=1, atol=1) == "output 'a' is new"
    assert difference(one, np.ones(1)) == "output 'y' has datatype FP64, recorded was FP32"
    assert difference(one, np.ones((1, 1), np.float32)) == "output 'y' has shape [1, 1], recorded was [1]"


def test_an_infinite_tolerance_compares_only_the_form() -> None:
    """For models that answer at random."""
    assert difference([1, 2], [3, 4], rtol=np.inf) is None
    assert difference([1, 2], [3], rtol=np.inf) is not None


@given(FLOATS, st.floats(0, 1), st.floats(0, 1))
def test_every_answer_agrees_with_itself(answer: np.ndarray, rtol: float, atol: float) -> None:
    """Whatever it holds and however strict the tolerance."""
    assert difference(answer, answer, rtol, atol) is None


@given(FLOATS.filter(lambda array: array.size > 0), st.data())
def test_a_single_wrong_element_is_found_where_it_is(answer: np.ndarray, data: st.DataObject) -> None:
    """NaN in place of a number is the hardest to see."""
    place = data.draw(st.sampled_from(list(np.ndindex(answer.shape))))
    expected = np.array(np.nan_to_num(answer))
    actual = expected.copy()
    actual[place] = np.nan

    found = difference(expected, actual)

    assert found is not None
    assert f"1 of {answer.size} elements; at {list(place)} " in found


@pytest.mark.parametrize("rtol", [0.0, 1e-3])
def test_halves_do_not_overflow_in_the_comparison(rtol: float) -> None:
    """The difference of two halves may be no half."""
    assert difference(np.array([65504], np.float16), np.array([-65504], np.float16), rtol) is not None
