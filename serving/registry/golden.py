"""A golden example: inputs with the answer recorded when a version was registered, and how to compare answers. Pure.

A version is ready when it answers its golden example as it did then. Integers, booleans and strings must be equal;
floats must agree within `|actual - expected| <= atol + rtol * |expected|`, NaN only with NaN, infinities only with
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from serving.backends.backend import Array, Backend
from serving.protocol.arrays import to_array
from serving.protocol.datatypes import datatype_of
from serving.protocol.messages import Tensor

Origin = Literal["given", "synthetic", "self-recorded"]
"""given: the example came with the registration. synthetic: it was generated from the signature then.
self-recorded: the version came without one, and it was recorded when the gateway first saw the version, so it cannot
tell whether the version changed before that."""


class Golden(msgspec.Struct, frozen=True):
    """Inputs and the answer to them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    origin: Origin


def arrays(tensors: Iterable[Tensor]) -> dict[str, Array]:
    """Take tensors as arrays by name, the form in which backends take and give them."""
    return {tensor.name: to_array(tensor) for tensor in tensors}


def replay_golden(backend: Backend, golden: Golden, *, rtol: float, atol: float) -> str | None:
    """Run the example and compare the answer; see `check_golden`. Raises what the backend raises."""
    actual = backend.infer(arrays(golden.inputs), ())
    return check_golden(arrays(golden.outputs), actual, rtol=rtol, atol=atol)


def check_golden(expected: Mapping[str, Array], actual: Mapping[str, Array], *, rtol: float, atol: float) -> str | None:
    """Compare two answers.

    Returns:
        None when they agree; else the first difference, in words for an operator.
    """
    for name in expected.keys() - actual.keys():
        return f"output '{name}' is missing"
    for name in actual.keys() - expected.keys():
        return f"output '{name}' is new"
    for name, want in expected.items():
        difference = _difference(want, actual[name], rtol, atol)
        if difference:
            return f"output '{name}' {difference}"
    return None


def _difference(expected: Array, actual: Array, rtol: float, atol: float) -> str | None:
    if datatype_of(expected.dtype) != datatype_of(actual.dtype):
        return f"has datatype {datatype_of(actual.dtype)}, recorded was {datatype_of(expected.dtype)}"
    if expected.shape != actual.shape:
        return f"has shape {list(actual.shape)}, recorded was {list(expected.shape)}"
    if math.isinf(rtol):
        return None
    places = np.argwhere(~_agree(expected, actual, rtol, atol))
    if not len(places):
        return None
    place = tuple(places[0].tolist())
    values = f"at {list(place)} it is {actual[place]}, recorded was {expected[place]}"
    return f"differs in {len(places)} of {expected.size} elements; {values}"


def _agree(expected: Array, actual: Array, rtol: float, atol: float) -> npt.NDArray[np.bool_]:
    if expected.dtype.kind != "f":
        return np.asarray(expected == actual, dtype=np.bool_)
    # Halves would overflow in the difference; doubles lose nothing that a tolerance could see.
    return np.isclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True)
