"""Faults of the data: what is odd once is no fault, what is odd often is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from router.drift.binning import RECONSTRUCTION_ERROR, Binner
from router.drift.building import build_profile, columns_of
from router.drift.pane import Pane
from router.drift.quality import Fault, find_faults
from router.drift.verdict import ColumnState, DriftSettings, judge_window
from serving.protocol.arrays import Array, to_tensor
from serving.protocol.packing import pack_tensors

RNG = np.random.default_rng(0)


def packed(**arrays: Array) -> bytes:
    return bytes(pack_tensors(tuple(to_tensor(name, array) for name, array in arrays.items())))


def answer(rows: int) -> tuple[bytes, bytes]:
    """Answer a request of so many rows, with a score for each and one temperature for all."""
    x = RNG.normal(size=(rows, 2)).astype(np.float32)
    return packed(x=x), packed(score=x[:, :1], temperature=np.array([x[0, 1]]))


def reference(*, with_temperature: bool) -> Binner:
    x = RNG.normal(size=(5000, 2)).astype(np.float32)
    outputs = {"score": x[:, :1]} | ({"temperature": x[:, 1:]} if with_temperature else {})
    return Binner(build_profile([*columns_of({"x": x}, "input"), *columns_of(outputs, "output")]))


def count(binner: Binner, answers: list[tuple[bytes, bytes]]) -> Pane:
    return binner.bin_payloads([each for each, _ in answers], [each for _, each in answers], [0.0] * len(answers))


@pytest.mark.parametrize("with_temperature", [False, True])
def test_an_output_for_the_whole_request_is_no_fault(with_temperature: bool) -> None:
    """Requests of one row and of four: the score counts for each, the temperature where there is one for each row."""
    binner = reference(with_temperature=with_temperature)
    window = count(binner, [answer(rows) for rows in (1, 4) * 200])

    assert find_faults(binner.profile, window) == []
    assert window.broken == 0
    assert int(window.counts("score").sum()) == window.rows == 1000
    if with_temperature:
        assert int(window.counts("temperature").sum()) == 200


def test_an_input_for_the_whole_request_leaves_its_relations_uncounted() -> None:
    """They take all features of a row, which a request of four rows with one offset has not, and one of one row has."""
    x = RNG.normal(size=(5000, 3)).astype(np.float32)
    x[:, 2] = x[:, 0] + x[:, 1]
    binner = Binner(build_profile(columns_of({"x": x[:, :2], "offset": x[:, 2:]}, "input")))
    requests = [packed(x=x[i : i + rows, :2], offset=x[i, 2:]) for i, rows in enumerate((1, 4) * 200)]
    window = count(binner, [(request, b"") for request in requests])

    assert find_faults(binner.profile, window) == []
    assert int(window.counts("x[0]").sum()) == window.rows == 1000
    assert int(window.counts("offset").sum()) == int(window.counts(RECONSTRUCTION_ERROR).sum()) == 200


def judged(binner: Binner, windows: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """Judge windows of requests of so many rows one after another; return the names that their schema faults give."""
    state: dict[str, ColumnState] = {}
    found = []
    for sizes in windows:
        window = count(binner, [answer(rows) for rows in sizes])
        state, verdict = judge_window(binner.profile, window, state, DriftSettings())
        found.append(tuple(each.column for each in verdict.faults if each.fault is Fault.SCHEMA))
    return found


def test_a_tensor_of_the_profile_that_no_request_has_for_each_row_is_a_fault_that_names_it() -> None:
    """Nothing is known of it, so nothing else would ever be said of it."""
    assert judged(reference(with_temperature=True), [[4] * 200, [4] * 200]) == [("temperature",)] * 2


def test_a_tensor_that_some_requests_have_for_each_row_is_no_fault_in_windows_of_others() -> None:
    """A night of bulk requests among days of single ones: what came once may come again."""
    binner = reference(with_temperature=True)
    windows = [[4] * 200, [4] * 200 + [1], [4] * 200, [1, 4] * 100, [4] * 200]

    assert judged(binner, windows) == [("temperature",), (), (), (), ()]


def test_a_reference_that_the_monitor_made_promises_no_tensor() -> None:
    """It is made of the requests that came first, and others need not look like them."""
    told = reference(with_temperature=True).profile
    made = Binner(msgspec.structs.replace(told, self_referenced=True))

    assert judged(made, [[4] * 200]) == [()]


def test_one_odd_payload_in_a_window_is_no_fault() -> None:
    """A share below the least, or one that chance allows."""
    binner = reference(with_temperature=False)
    sound = [answer(1) for _ in range(1000)]
    window = count(binner, [*sound, (b"odd", sound[0][1])])

    assert window.broken == 1
    assert find_faults(binner.profile, window) == []


def test_many_odd_payloads_are_a_fault_with_their_share() -> None:
    """Every twentieth request, neither what the reference had nor chance."""
    binner = reference(with_temperature=False)
    sound = [answer(1) for _ in range(950)]
    (finding,) = find_faults(binner.profile, count(binner, [*sound, *[(b"odd", sound[0][1])] * 50]))

    assert finding.fault is Fault.SCHEMA
    assert finding.share == pytest.approx(50 / 2000)
    assert finding.expected < 0.001
    assert finding.p_value < 1e-6
