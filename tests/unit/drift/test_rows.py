"""Logged payloads as columns: stacked together they hold what each holds alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.rows import stack_rows
from serving.protocol.arrays import Array, to_tensor
from serving.protocol.packing import pack_tensors

#: Names, datatypes and trailing axes of two kinds of payload.
KINDS = (
    (("x", "<f4", (3,)),),
    (("x", "<f4", (3,)), ("n", "<i8", ())),
    (("x", "<f4", (2, 2)), ("n", "<i8", (1,))),
)


def payload(kind: int, rows: int, seed: int) -> tuple[bytes, dict[str, Array]]:
    """Pack tensors drawn at random."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {
        name: random.integers(-99, 99, (rows, *tail)).astype(dtype) for name, dtype, tail in KINDS[kind]
    }
    return bytes(pack_tensors(tuple(to_tensor(name, array) for name, array in arrays.items()))), arrays


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 2**31)), min_size=1, max_size=30))
def test_a_table_holds_the_rows_of_its_payloads_and_knows_whose_they_are(drawn: list[tuple[int, int, int]]) -> None:
    """One table for each set of names, datatypes and widths, whatever their numbers of rows and their order."""
    packed = [payload(*each) for each in drawn]

    stacked = stack_rows([data for data, _ in packed])

    assert stacked.unreadable == ()
    assert len(stacked.tables) == len({kind for kind, _, _ in drawn})
    found = [
        (owner, name, array[row].tolist())
        for table in stacked.tables
        for name, array in table.tensors.items()
        for row, owner in enumerate(table.owner.tolist())
    ]
    expected = [
        (owner, name, row.ravel().tolist())
        for owner, (_, arrays) in enumerate(packed)
        for name, array in arrays.items()
        for row in array
    ]
    assert sorted(found) == sorted(expected)


def test_payloads_that_cannot_be_read_are_counted_and_spoil_no_others() -> None:
    """Cut short, too long, no header, and no tensor that has rows."""
    good, _ = payload(1, 2, seed=0)
    header = 4 + int.from_bytes(good[:4], "little")
    scalar = pack_tensors((to_tensor("a", np.zeros(())),))
    bad = [
        good[:-1],
        good + b"\0",
        good[:header],
        good[: header - 2],
        b"\1",
        b"\xff" * 20,
        bytes(scalar),
    ]

    stacked = stack_rows([good, *bad, b"", good])

    assert sorted(stacked.unreadable) == list(range(1, len(bad) + 1))
    assert [table.owner.tolist() for table in stacked.tables] == [[0, 0, len(bad) + 2, len(bad) + 2]]


@pytest.mark.parametrize(
    ("shapes", "kept"),
    [
        ({"score": (4, 1), "temperature": (1,)}, {"score"}),
        ({"temperature": (1,), "seed": (1,), "score": (4, 1)}, {"score"}),
        ({"score": (4, 1), "constant": ()}, {"score"}),
        ({"label": (4,), "scores": (4, 3), "classes": (3,)}, {"label", "scores"}),
        ({"score": (4,), "temperature": (1,)}, {"score"}),
        ({"image": (1, 3, 2, 2), "tokens": (7,)}, {"image"}),
        ({"score": (1, 1), "temperature": (1,)}, {"score", "temperature"}),
    ],
)
def test_tensors_without_an_entry_for_each_row_are_left_out(shapes: dict[str, tuple[int, ...]], kept: set[str]) -> None:
    """The rows are the first axis of the tensors with most axes; the payload counts, with its other tensors."""
    tensors = [to_tensor(name, np.ones(shape, np.float32)) for name, shape in shapes.items()]

    stacked = stack_rows([bytes(pack_tensors(tuple(tensors)))] * 2)

    (table,) = stacked.tables
    assert stacked.unreadable == ()
    assert set(table.tensors) == kept
    assert table.left_out == set(shapes) - kept
    assert all(np.all(array == 1.0) for array in table.tensors.values())
