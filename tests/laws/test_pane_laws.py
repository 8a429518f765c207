"""Panes add up: in any order, by any number of consumers, however the stream was cut, to the same bits."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.drift.binning import Binner
from router.drift.building import build_profile, columns_of
from router.drift.pane import Pane
from router.drift.verdict import DriftSettings, judge_window
from router.monitor.drift import Judging, WindowSettings, judge
from router.monitor.state import ArmState, Slot, VersionState
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(2000, 5))
LETTERS = np.array(["a", "b", "c"], dtype=object)[RNG.integers(0, 3, 2000)]
BINNER = Binner(
    build_profile(
        [
            *columns_of({"x": REFERENCE, "letter": LETTERS}, "input"),
            *columns_of({"score": RNG.random(2000)}, "output"),
        ]
    )
)
#: Ordinary rows and bad ones: nulls, infinities, strangers, torn payloads, missing outputs.
VALUES = np.concatenate([REFERENCE[:400] * 1.3, [[np.nan] * 5, [np.inf] * 5, [-1e30] * 5]]).astype(np.float32)
INPUTS = [
    pack_tensors(
        [to_tensor("x", row[None]), to_tensor("letter", np.array([["a", "b", "strange"][i % 3]], dtype=object))]
    )
    for i, row in enumerate(VALUES)
] + [b"torn", b"\x00\x00\x00\x00"]
OUTPUTS = [pack_tensors([to_tensor("score", np.array([[i / 500]], dtype=np.float32))]) for i in range(len(VALUES))]
OUTPUTS += [b"", OUTPUTS[0]]
AT = [1e9 + 600.0 * i for i in range(len(INPUTS))]


def count(chosen: list[int]) -> Pane:
    return BINNER.bin_payloads([INPUTS[i] for i in chosen], [OUTPUTS[i] for i in chosen], [AT[i] for i in chosen])


WHOLE = count(list(range(len(INPUTS))))
panes = st.lists(st.integers(0, len(INPUTS) - 1), max_size=30).map(count)


def add_up(panes: Iterable[Pane]) -> Pane:
    """Add panes, in whatever order they come."""
    return reduce(operator.add, panes, Pane.empty(BINNER.layout))


@given(panes, panes, panes)
def test_panes_are_a_commutative_monoid(a: Pane, b: Pane, c: Pane) -> None:
    """Associative, commutative, with the empty pane as neutral element."""
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Pane.empty(a.layout) == a


@given(st.lists(st.integers(0, 3), min_size=len(INPUTS), max_size=len(INPUTS)))
def test_four_consumers_count_what_one_counts(consumer: list[int]) -> None:
    """Bit for bit, whoever got which row: also the error of the relations, whose sums are no floats."""
    shares = [count([i for i, mine in enumerate(consumer) if mine == number]) for number in range(4)]

    assert add_up(shares) == WHOLE


@given(st.lists(st.integers(0, len(INPUTS)), max_size=12).map(sorted))
def test_counts_do_not_depend_on_how_the_stream_was_cut(cuts: list[int]) -> None:
    """Batches of any size give the same sum."""
    ends = [0, *cuts, len(INPUTS)]

    assert add_up([count(list(range(a, b))) for a, b in pairwise(ends)]) == WHOLE


@given(st.permutations(range(5)))
def test_the_order_of_panes_is_irrelevant_to_the_verdict(order: list[int]) -> None:
    """The same window, the same verdict."""
    parts = [count(list(range(start, len(INPUTS), 5))) for start in range(5)]
    state, verdict = judge_window(BINNER.profile, add_up([parts[i] for i in order]), {}, DriftSettings())

    assert repr((state, verdict)) == repr(judge_window(BINNER.profile, WHOLE, {}, DriftSettings()))


@given(panes)
def test_a_pane_survives_its_bytes(pane: Pane) -> None:
    """A monitor that is killed in mid-window goes on from them."""
    assert Pane.from_bytes(pane.layout, pane.to_bytes()) == pane


@given(st.lists(panes, max_size=12), st.integers(1, 60))
def test_windows_take_each_slot_once_and_in_order(parts: list[Pane], least: int) -> None:
    """No gap, no overlap; all but the rest that is too small, which waits for more."""
    judging = Judging(window=WindowSettings(rows=least))
    arm = ArmState(slots={i: Slot(pane.to_bytes()) for i, pane in enumerate(parts)})
    judged = judge(arm, VersionState(), BINNER, until=len(parts) + 10.0, settings=judging)

    windows, rest = 0, Pane.empty(BINNER.layout)
    for pane in parts:
        rest += pane
        if rest.rows >= least:
            windows, rest = windows + 1, Pane.empty(BINNER.layout)
    assert judged == arm.windows == windows
    assert arm.slots == {}
    assert (Pane.from_bytes(BINNER.layout, arm.window.pane) if arm.window else Pane.empty(BINNER.layout)) == rest


def test_what_cannot_be_read_is_counted_and_left_out() -> None:
    """Two torn inputs; the output that is missing is none."""
    assert WHOLE.broken == 2
    assert WHOLE.messages == len(INPUTS) + len(OUTPUTS) - 1
    assert WHOLE.rows == len(VALUES)
