"""Hypothesis strategies of tensors, for the laws of codecs."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np

from serving.protocol.datatypes import DATATYPES
from serving.protocol.elements import join_elements
from serving.protocol.messages import Tensor

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=6).map(str.encode)
NUMERIC = sorted(set(DATATYPES) - {"BYTES"})
FLOATING = ("FP16", "BF16", "FP32", "FP64")


@st.composite
def tensors(
    draw: st.DrawFn,
    *,
    datatypes: st.SearchStrategy[str] | None = None,
    elements: st.SearchStrategy[bytes] | None = None,
    finite: bool = False,
) -> Tensor:
    """Any tensor, rank 0 and empty ones included.

    `elements` are those of BYTES. With `finite`, floating-point values are numbers or the one NaN that `float` gives.
    """
    datatype = draw(datatypes or st.sampled_from(sorted(DATATYPES)))
    shape = draw(SHAPES)
    count = math.prod(shape)
    name = draw(NAMES)
    if datatype == "BYTES":
        chosen = elements if elements is not None else st.binary(max_size=6)
        return Tensor(name, datatype, shape, join_elements(draw(st.lists(chosen, min_size=count, max_size=count))))
    size = count * DATATYPES[datatype].itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if datatype == "BOOL":
        raw = bytes(byte & 1 for byte in raw)
    return Tensor(name, datatype, shape, _quiet(datatype, raw) if finite and datatype in FLOATING else raw)


def tensor_lists(**options: object) -> st.SearchStrategy[tuple[Tensor, ...]]:
    """Up to three tensors of different names."""
    one = tensors(**options)  # type: ignore[arg-type]
    return st.lists(one, max_size=3, unique_by=lambda tensor: tensor.name).map(tuple)


def _quiet(datatype: str, raw: bytes) -> bytes:
    """Turn infinities and every NaN into the usual NaN."""
    if datatype == "BF16":
        bits = np.frombuffer(raw, "<u2")
        return np.where((bits & 0x7F80) == 0x7F80, 0x7FC0, bits).astype("<u2").tobytes()
    values = np.frombuffer(raw, DATATYPES[datatype].dtype)
    return np.where(np.isfinite(values), values, np.array(np.nan, values.dtype)).tobytes()
