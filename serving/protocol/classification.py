"""The V2 classification extension: an output as its strongest classes instead of its numbers. Pure.

Each element of the answer is the text `value:index`. A tensor of rank 2 or more is classified row by row along its
first axis; one of rank 0 or 1 is one row. Values print as C's `%f`, as Triton's do. Models carry no label files, so the
third part that Triton may append, the label, is absent.
"""

from __future__ import annotations

import numpy as np

from serving.protocol.arrays import to_array
from serving.protocol.datatypes import DATATYPES
from serving.protocol.elements import join_elements
from serving.protocol.errors import invalid
from serving.protocol.messages import Tensor


def classify(tensor: Tensor, count: int) -> Tensor:
    """Reduce a numeric tensor to the `count` largest elements of each row; equal ones in the order of their index.

    Returns:
        BYTES of shape `[rows, k]`, or `[k]` for one row, where k is `count` or the length of a row if that is less.

    Raises:
        ServingError: INVALID for a tensor that has no order.
    """
    if tensor.datatype in {"BYTES", "BOOL", "BF16"}:
        raise invalid(f'output "{tensor.name}" is {tensor.datatype}, which has no classes')
    array = to_array(tensor)
    one_row = array.ndim < 2
    rows = array.reshape(1, -1) if one_row else array.reshape(array.shape[0], int(np.prod(array.shape[1:])))
    kept = min(count, rows.shape[1])
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :kept]
    is_float = DATATYPES[tensor.datatype].dtype.kind == "f"
    elements = [
        (f"{value:f}:{index}" if is_float else f"{value}:{index}").encode()
        for row, indices in zip(rows, order, strict=True)
        for index, value in zip(indices.tolist(), row[indices].tolist(), strict=True)
    ]
    shape = (kept,) if one_row else (rows.shape[0], kept)
    return Tensor(tensor.name, "BYTES", shape, join_elements(elements))
