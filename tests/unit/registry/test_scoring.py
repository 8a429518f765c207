"""A model is scored on labelled rows, as a whole and by slices."""

from __future__ import annotations

import pytest

from serving.backends.echo import EchoBackend, EchoOptions
from serving.protocol.errors import ServingError
from serving.protocol.messages import TensorSpec
from serving.registry.scoring import Labelled, score


def table(rows: list[str], header: str = "x,label,group") -> str:
    return "\n".join([header, *rows])


#: An echo of `x`: right for all of group a, and for half of group b.
HALF = table(["1,1,a"] * 60 + ["0,0,b"] * 20 + ["1,0,b"] * 20)


def found(asked: Labelled, *specs: TensorSpec) -> dict[str, str]:
    backend = EchoBackend(EchoOptions(inputs=specs or (TensorSpec("x", "INT64", (-1,)),)))
    return {finding.check: f"{finding.verdict}: {finding.seen}" for finding in score(backend, asked)}


def test_quality_below_the_threshold_fails() -> None:
    """Both numbers are told."""
    assert found(Labelled(HALF, "label", threshold=0.9))["quality"] == "failed: accuracy 0.8 on 100 rows, asked for 0.9"
    assert found(Labelled(HALF, "label", threshold=0.8))["quality"].startswith("ok")


def test_a_slice_far_worse_than_the_whole_fails() -> None:
    """The slice is named."""
    asked = Labelled(HALF, "label", slices=("group",), max_slice_gap=0.2)

    assert found(asked)["slices"].startswith("failed: worst of 2 slices is group=b with accuracy 0.5, 0.3 from")


def test_small_slices_are_left_out() -> None:
    """Their score is chance."""
    asked = Labelled(table(["1,1,a"] * 60 + ["1,0,b"] * 5), "label", slices=("group",), max_slice_gap=0.0)

    assert found(asked)["slices"].startswith("ok: worst of 1 slices is group=a")


def test_errors_are_better_when_smaller() -> None:
    """For mae and rmse the threshold is a ceiling."""
    asked = Labelled(table(["1.0,2.0,a"] * 40), "label", "rmse", threshold=0.5)

    assert found(asked, TensorSpec("x", "FP32", (-1,)))["quality"].startswith("failed: rmse 1 on 40 rows")


def test_columns_are_the_features_of_a_model_with_one_input() -> None:
    """In the order of the file, without the label; the largest number is the class."""
    asked = Labelled(table(["0.1,0.9,1"] * 3, "a,b,label"), "label", threshold=1.0)

    assert found(asked, TensorSpec("features", "FP32", (-1, 2)))["quality"].startswith("ok")


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        ("x,y\n1,2", TensorSpec("x", "FP32", (-1,)), "no column 'label'; it has x, y"),
        ("label\n", TensorSpec("x", "FP32", (-1,)), "it has no rows"),
        ("a,label\n1,2", TensorSpec("x", "FP32", (-1, 3)), "takes 3 features, the file has 1"),
        ("x,label\nred,2", TensorSpec("x", "FP32", (-1,)), "text where input 'x' wants numbers"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(content: str, spec: TensorSpec, message: str) -> None:
    """With the reason."""
    with pytest.raises(ServingError, match=message):
        found(Labelled(content, "label"), spec)
