"""Tells whether a model answers a row alike alone and among others; one that does not must not be batched. Pure.

A model may mix the rows of a batch: a mean over the first axis, a normalization that was exported in training mode. Its
signature does not show it. Neighbours that equal the row would not show it either, so they are generated ones where the
model takes those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from serving.backends.backend import Array, Backend
from serving.backends.example import synthetic_inputs
from serving.protocol.errors import ServingError
from serving.registry.golden import check_golden

_ROWS: Final = 4
"""Of a tried batch; the example is its first and its third row."""


def mixing_of_rows(backend: Backend, example: Mapping[str, Array], *, rtol: float, atol: float) -> str | None:
    """Compare the answer to one row alone with the answers to it within a batch.

    Args:
        backend: a batchable model.
        example: inputs with at least one row.
        rtol: relative tolerance of floats; infinite for a model whose answers are random, which is not compared.
        atol: absolute tolerance.

    Returns:
        None when they agree; else the difference, in words for an operator.

    Raises:
        ServingError: the model fails on the example itself.
    """
    row = {name: array[:1] for name, array in example.items()}
    alone = backend.infer(row, ())
    try:
        together = backend.infer(_among(row, synthetic_inputs(backend.signature)), ())
    except (ServingError, ValueError):  # generated neighbours may be refused, or be of another shape
        together = backend.infer(_among(row, row), ())
    for place in (0, 2):
        if difference := check_golden(alone, _row(together, place), rtol=rtol, atol=atol):
            return f"batched with other rows, {difference}"
    return None


def _among(row: Mapping[str, Array], neighbour: Mapping[str, Array]) -> dict[str, Array]:
    """Build a batch of row, neighbour, row, neighbour."""
    return {name: np.concatenate([array, neighbour[name]] * (_ROWS // 2)) for name, array in row.items()}


def _row(outputs: Mapping[str, Array], place: int) -> dict[str, Array]:
    return {name: _slice(array, place) for name, array in outputs.items()}


def _slice(array: Array, place: int) -> Array:
    return array[place : place + 1] if array.shape[:1] == (_ROWS,) else array
