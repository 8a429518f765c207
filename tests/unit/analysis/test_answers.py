"""How far apart two answers are: labels decide, numbers explain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.analysis.answers import MOST_VALUES, Gap, compare_answers
from router.analysis.shadow_report import ShadowReport, comparison_of, excess, words
from router.analysis.verdict import Verdict
from serving.protocol.arrays import to_tensor


def gap(primary: object, shadow: object, dtype: str = "float32") -> Gap:
    one, two = (to_tensor("y", np.asarray(values, dtype)) for values in (primary, shadow))
    return compare_answers([one], [two])


def test_probabilities_that_keep_the_label_agree_whatever_their_size() -> None:
    """A retrained model never repeats probabilities; the shift is measured all the same."""
    found = gap([[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.2], [0.3, 0.7]])
    assert found.agrees
    assert (found.outputs[0].far, found.outputs[0].flips) == (4, 0)
    assert found.outputs[0].largest == pytest.approx(0.1)


def test_two_classes_mixed_up_disagree_in_every_row() -> None:
    """The injected bug that a shadow is for."""
    found = gap([[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.8, 0.2]])
    assert not found.agrees
    assert found.outputs[0].flips == 2


def test_half_precision_agrees() -> None:
    """Rounding is no disagreement: neither of scores nor of regressions."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1.0] * 5, 100)
    assert gap(scores, scores.astype("float16").astype("float32")).agrees
    values = rng.normal(size=100)
    assert gap(values, values.astype("float16").astype("float32")).agrees


def test_bf16_is_compared_as_numbers() -> None:
    """Its bits are no labels: the last of them is noise."""
    one, two = (to_tensor("y", np.array([[0x3F80], [0x4000 + low]], "uint16"), "BF16") for low in (0, 1))
    assert compare_answers([one], [two]).agrees


def test_numbers_without_classes_agree_within_the_tolerance_only() -> None:
    """A regression's output is a column."""
    assert gap([[100.0], [5.0]], [[100.5], [5.0]]).agrees
    assert not gap([[100.0], [5.0]], [[103.0], [5.0]]).agrees


def test_the_label_decides_where_there_is_one() -> None:
    """Scores beside labels are information."""
    labels = to_tensor("label", np.array([1, 2]))
    one, two = (to_tensor("scores", np.array(scores, "float32")) for scores in ([[0.6, 0.4]] * 2, [[0.4, 0.6]] * 2))
    assert compare_answers([labels, one], [labels, two]).agrees
    assert not compare_answers([labels, one], [to_tensor("label", np.array([1, 3])), one]).agrees


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_disagrees_unless_both_have_it(bad: float) -> None:
    """NaN sorts as the largest; it must not pass as a class, nor poison the sums."""
    found = gap([[1.0], [2.0]], [[1.0], [bad]])
    assert not found.agrees
    assert np.isfinite(found.outputs[0].shift.mean)
    assert np.isfinite(found.outputs[0].largest)
    assert gap([[bad, 0.0]], [[bad, 0.0]]).agrees
    assert not gap([[0.0, 1.0]], [[0.0, float("nan")]]).agrees


def test_answers_of_another_form_disagree_and_say_how() -> None:
    """Names, datatypes and shapes."""
    assert "FP32[2] for FP32[1]" in gap([1.0], [1.0, 2.0]).malformed
    one, two = to_tensor("y", np.array([1.0])), to_tensor("z", np.array([1.0]))
    assert "['z'] for ['y']" in compare_answers([one], [two]).malformed


def test_top_classes_in_another_order_are_the_same_set() -> None:
    """Only a class that leaves the top counts."""
    assert gap([[5.0, 4, 3, 2, 1]], [[4.0, 5, 3, 2, 1]]).outputs[0].reordered == 0
    assert gap([[5.0, 4, 3, 2, 1]], [[5.0, 4, 1, 2, 3]]).outputs[0].reordered == 1


def test_text_is_compared_by_value() -> None:
    """BYTES are labels too."""
    one, two = to_tensor("y", np.array([b"cat", b"dog"], object)), to_tensor("y", np.array([b"cat", b"cow"], object))
    assert compare_answers([one], [two]).outputs[0].flips == 1


def test_of_a_huge_answer_the_first_rows_are_compared() -> None:
    """So that a comparison has a bounded cost."""
    huge = np.zeros((10 * MOST_VALUES, 2), "float32")
    assert gap(huge, huge).outputs[0].values == MOST_VALUES


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), ()])
def test_empty_and_scalar_answers_agree(shape: tuple[int, ...]) -> None:
    """No rows, no classes."""
    assert gap(np.zeros(shape), np.zeros(shape)).agrees


reports = st.lists(st.tuples(st.lists(st.floats(-9, 9), min_size=2, max_size=2), st.booleans()), max_size=6)


@given(reports, reports)
def test_reports_add_up(one: list[tuple[list[float], bool]], two: list[tuple[list[float], bool]]) -> None:
    """In any order: routers come and go."""

    def report(rows: list[tuple[list[float], bool]]) -> ShadowReport:
        total = ShadowReport()
        for row, is_noise in rows:
            seen = comparison_of(gap([row], [row[::-1]]))
            total += ShadowReport(noise=seen) if is_noise else ShadowReport(shadow=seen)
        return total

    here, there = report(one) + report(two), report(two) + report(one)
    assert here.shadow.answers + here.noise.answers == len(one) + len(two)
    assert here.shadow.disagreements == there.shadow.disagreements == report(one + two).shadow.disagreements
    assert (here + ShadowReport()).shadow == here.shadow


def test_a_shadow_is_only_as_bad_as_it_is_worse_than_the_primary_with_itself() -> None:
    """A model that draws at random disagrees with itself."""
    differs, same = (comparison_of(each) for each in (gap([[1.0, 0]], [[0.0, 1]]), gap([[1.0, 0]], [[1.0, 0]])))

    def report(noisy: int) -> ShadowReport:
        total = ShadowReport()
        for number in range(300):
            shadow = differs if number % 3 == 0 else same
            noise = differs if number % 3 < noisy else same
            total += ShadowReport(shadow=shadow, noise=noise)
        return total

    assert excess(report(noisy=1), alpha=0.05).verdict is Verdict.INCONCLUSIVE
    assert excess(report(noisy=0), alpha=0.05).verdict is Verdict.FAIL
    assert words(report(noisy=0)).startswith("disagrees in 33.3 % of 300 answers")
    assert words(ShadowReport()) == "not yet: no answer compared"
