"""Records as training data: features as served, in columns, beside the label that was known at the time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.requestlog.label import Label
from router.requestlog.record import SHADOW, Record
from router.requestlog.rows import FIXED, MAX_WIDTH, KnownLabel, LabelsAsOf, label_rows, rows_of
from serving.protocol.arrays import to_tensor
from serving.protocol.messages import Tensor
from serving.protocol.packing import pack_tensors
from tests.answers import a_record

AT = 1_700_000_000.25


def packed(**arrays: Any) -> bytes:
    return pack_tensors([to_tensor(name, np.asarray(array)) for name, array in arrays.items()])


def f32(values: Any) -> Any:
    return np.array(values, dtype=np.float32)


def f64(values: Any) -> Any:
    return np.array(values, dtype=np.float64)


def i64(values: Any) -> Any:
    return np.array(values, dtype=np.int64)


def served(**arrays: Any) -> Record:
    return a_record(inputs=packed(**arrays), outputs=b"")


def test_each_row_of_a_request_is_a_row_with_a_column_for_each_value() -> None:
    """Names as the monitor's: `x[1]`, or just `x` where there is one value a row."""
    record = a_record(
        inputs=packed(x=f32([[1, 2], [3, 4]]), who=np.array([[b"a"], [b"b"]], dtype=object)),
        outputs=packed(label=i64([0, 1])),
    )

    found = rows_of(record)

    assert found.schema == (
        ("input.x[0]", "FP32"),
        ("input.x[1]", "FP32"),
        ("input.who", "BYTES"),
        ("output.label", "INT64"),
    )
    assert [[row[name] for name, _ in found.schema] for row in found.rows] == [[1, 2, "a", 0], [3, 4, "b", 1]]
    assert [row["row"] for row in found.rows] == [0, 1]
    assert (found.model, found.day) == ("flights", date(2023, 11, 14))


def test_every_row_has_the_fixed_columns() -> None:
    """In whatever state the record is."""
    for record in (served(x=[1.0]), a_record(inputs=b"", outputs=b"", outcome="unavailable"), a_record()):
        (row,) = rows_of(record).rows
        assert FIXED.keys() <= row.keys()
        assert (row["record_id"], row["request_id"], row["at"]) == (
            record.id,
            record.request_id,
            datetime.fromtimestamp(AT, UTC),
        )


def test_wide_rows_and_tensors_without_rows_are_lists() -> None:
    """An image is not four thousand columns."""
    wide = rows_of(served(x=np.zeros((2, MAX_WIDTH + 1))))
    mixed = rows_of(served(x=f64([[1], [2]]), rate=i64([16000])))
    empty = rows_of(served(x=np.zeros((2, 0))))

    assert wide.schema == (("input.x[]", "FP64[]"),)
    assert len(wide.rows[1]["input.x[]"]) == MAX_WIDTH + 1
    assert mixed.schema == (("input.x[0]", "FP64"), ("input.x[1]", "FP64"), ("input.rate", "INT64"))
    assert [row["input.x[]"] for row in empty.rows] == [[], []]


@given(
    names=st.lists(st.sampled_from(["x", "x[0]", "x[1]", "x[]", "x[0][0]", "x[0][]", "y"]), unique=True),
    widths=st.lists(st.sampled_from([0, 1, 2, MAX_WIDTH + 1]), min_size=7, max_size=7),
)
def test_no_two_tensors_share_a_column(names: list[str], widths: list[int]) -> None:
    """Whatever they are called: a table with two columns of one name cannot be read."""
    tensors = {name: np.zeros((2, width)) for name, width in zip(names, widths, strict=False)}
    found = rows_of(served(**tensors))

    columns = [name for name, _ in found.schema]
    assert len(columns) == len(set(columns)) == sum(width if width == 2 else 1 for _, width in _spread(tensors))


def _spread(tensors: dict[str, Any]) -> list[tuple[str, int]]:
    """Which are columns of their own: those of names that end in a bracket never are."""
    return [(name, 1 if name.endswith("]") else array.shape[1]) for name, array in tensors.items()]


def test_what_was_not_answered_has_no_columns_of_its_own() -> None:
    """A request that was refused may name tensors that no model has."""
    refused = a_record(inputs=packed(nobody=[1.0], knows=[2.0]), outputs=b"", outcome="invalid")

    assert rows_of(refused).schema == ()
    assert len(rows_of(refused).rows) == 1


def test_a_time_that_no_calendar_has_is_an_error() -> None:
    """One that says so, for those who read on."""
    for at in (1e300, float("nan"), -1e18):
        with pytest.raises(ValueError, match="no calendar"):
            rows_of(a_record(at=at))
        with pytest.raises(ValueError, match="no calendar"):
            label_rows("flights", Label("r", 1), at)


def test_bf16_is_widened() -> None:
    """Its bits alone would be numbers of their own."""
    bits = (np.array([1.5, -2.0], dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    record = a_record(inputs=pack_tensors([Tensor("x", "BF16", (2, 1), bits.tobytes())]), outputs=b"")

    assert [row["input.x"] for row in rows_of(record).rows] == [1.5, -2.0]


def test_labels_are_those_known_at_the_time() -> None:
    """The last that had come; what came later, nobody could have trained on."""
    record = served(x=[1.0])

    def known(as_of: float) -> tuple[Any, Any]:
        labels = LabelsAsOf(as_of)
        labels.add("flights", Label(record.request_id, 0, 2.5), AT + 10)
        labels.add("flights", Label(record.request_id, 1), AT + 20)
        labels.add("other", Label(record.request_id, 9), AT + 5)
        (row,) = rows_of(record, labels.of(record)).rows
        return row["label_number"], row["outcome_value"]

    assert [known(AT + after) for after in (9, 15, 25)] == [(None, None), (0.0, 2.5), (1.0, 2.5)]


def test_a_list_of_labels_is_one_for_each_row_and_nothing_else() -> None:
    """A label that does not say whose it is, is nobody's."""
    record = served(x=f64([[1], [2]]))

    def labels(value: Any) -> list[Any]:
        return [row["label"] for row in rows_of(record, KnownLabel(Label("r", value), AT)).rows]

    assert labels((1, 0)) == ["1", "0"]
    assert labels(("cat", True)) == ['"cat"', "true"]
    assert labels(1) == [None, None]
    assert labels((1, 0, 1)) == [None, None]


def test_a_shadow_has_its_primarys_label() -> None:
    """So that versions are compared on the same truth."""
    labels = LabelsAsOf()
    labels.add("flights", Label("request-1", 1), AT)
    shadow = a_record(kind=SHADOW, request_id="request-1-shadow", primary_id="request-1")

    assert labels.of(shadow) == KnownLabel(Label("request-1", 1), AT)


@given(inputs=st.binary(max_size=80), outputs=st.binary(max_size=80))
def test_a_payload_that_cannot_be_read_is_a_row_without_it(inputs: bytes, outputs: bytes) -> None:
    """Nothing in the log can end an export."""
    assert all(FIXED.keys() <= row.keys() for row in rows_of(a_record(inputs=inputs, outputs=outputs)).rows)
