"""Rows that are not numbers are counted, once each, and sent on unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from serving.backends.echo import EchoBackend, EchoOptions
from serving.deployment.finite_outputs import FiniteOutputs, count_nonfinite_rows
from serving.protocol.messages import TensorSpec
from serving.telemetry.instruments import Counter

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([[1, 2], [3, 4]], 0), ([[1, NAN], [3, 4]], 1), ([[NAN, INF], [3, -INF]], 2)],
)
def test_a_row_counts_once_whatever_is_wrong_in_it(rows: list[list[float]], expected: int) -> None:
    """NaN and both infinities are wrong."""
    counter = Counter()
    backend = FiniteOutputs(EchoBackend(), counter)
    x = np.array(rows, np.float32)

    answer = backend.infer({"x": x}, ())

    assert counter.value == expected
    assert answer["x"] is x


def test_only_floats_are_looked_at() -> None:
    """Integers and text cannot be NaN."""
    counter = Counter()
    specs = (TensorSpec("n", "INT64", (-1,)), TensorSpec("s", "BYTES", (-1,)))
    backend = FiniteOutputs(EchoBackend(EchoOptions(inputs=specs)), counter)

    backend.infer({"n": np.arange(3), "s": np.array([b"a", b"b", b"c"], object)}, ())

    assert counter.value == 0


def test_a_row_wrong_in_two_outputs_is_one_row() -> None:
    """And an output without that axis is one row of its own."""
    a, b = np.array([[NAN], [1.0]]), np.array([[NAN], [NAN]])

    assert count_nonfinite_rows([a, b]) == 2
    assert count_nonfinite_rows([np.array(NAN)]) == 1
    assert count_nonfinite_rows([a, np.array([NAN])]) == 1
