"""Makes inputs for a model from its signature and stacks them to a batch size. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from serving.backends.backend import Array
from serving.protocol.datatypes import DATATYPES
from serving.protocol.messages import Signature, TensorSpec


def synthetic_inputs(signature: Signature) -> dict[str, Array]:
    """Make inputs that fit but mean nothing: floats are 1, all else is 0, false or empty; dynamic sizes are 1.

    Zero is the integer least likely to be refused (it is a valid index, class and token); one is the float least likely
    to divide by zero.
    """
    return {spec.name: _filled(spec) for spec in signature.inputs}


def stacked(inputs: Mapping[str, Array], batch_size: int) -> dict[str, Array]:
    """Repeat the rows of each input along its first axis until there are `batch_size` of them."""
    return {name: np.resize(array, (batch_size, *array.shape[1:])) for name, array in inputs.items()}


def _filled(spec: TensorSpec) -> Array:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    if spec.datatype == "BF16":
        return np.full(shape, 0x3F80, dtype=DATATYPES["BF16"].dtype)  # the bit pattern of 1.0
    dtype = DATATYPES[spec.datatype].dtype
    return np.full(shape, 1 if dtype.kind == "f" else 0, dtype=dtype)
