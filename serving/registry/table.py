"""A CSV table as inputs of a model, and the model's answers to all of its rows. Pure.

Columns are found by name where each input has a column of its own; else the columns, in the order of the file, are the
features of the one input.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from serving.backends.backend import Array, Backend
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import invalid
from serving.protocol.messages import TensorSpec

_ROWS_PER_RUN: Final = 64


class TableInputs(NamedTuple):
    """The rows of a table as a model takes them."""

    arrays: dict[str, Array]
    """By input; the first axis being the rows."""
    names: dict[str, tuple[str, ...]]
    """By input, the columns that it was made of, in order."""


def read_table(text: str, needed: Collection[str]) -> dict[str, list[str]]:
    """Read a CSV with a header into columns.

    Raises:
        ServingError: INVALID, a needed column is missing.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    names = list(rows[0]) if rows else []
    for wanted in needed:
        if wanted not in names:
            raise invalid(f"the file has no column '{wanted}'; it has {', '.join(map(str, names)) or 'no rows'}")
    return {name: [row[name] or "" for row in rows] for name in names}


def table_inputs(
    specs: Sequence[TensorSpec], features: Mapping[str, list[str]], extra: Collection[str] = ()
) -> TableInputs:
    """Find each input's columns.

    Args:
        specs: the model's inputs.
        features: columns by name, the label's left out.
        extra: columns that are left out where the model takes fewer features than there are.

    Raises:
        ServingError: INVALID, the table does not fit the model.
    """
    if all(spec.name in features for spec in specs):
        arrays = {
            spec.name: _array(spec, features[spec.name]).reshape(-1, *[1] * (len(spec.shape) - 1)) for spec in specs
        }
        return TableInputs(arrays, {spec.name: (spec.name,) for spec in specs})
    if len(specs) != 1 or len(specs[0].shape) != 2:
        raise invalid(f"the file has no columns for the inputs {', '.join(spec.name for spec in specs)}")
    (spec,) = specs
    names = [name for name in features if spec.shape[1] in (-1, len(features)) or name not in extra]
    if spec.shape[1] not in (-1, len(names)):
        raise invalid(f"input '{spec.name}' takes {spec.shape[1]} features, the file has {len(names)}")
    array = np.stack([_array(spec, features[name]) for name in names], axis=1)
    return TableInputs({spec.name: array}, {spec.name: tuple(names)})


def run_rows(backend: Backend, inputs: Mapping[str, Array], rows: int) -> list[Mapping[str, Array]]:
    """Run the model on every row, in pieces; return the answers in order."""
    size = _ROWS_PER_RUN if backend.signature.batchable else 1
    return [
        backend.infer({name: array[start : start + size] for name, array in inputs.items()}, ())
        for start in range(0, rows, size)
    ]


def _array(spec: TensorSpec, texts: Sequence[str]) -> Array:
    if spec.datatype == "BYTES":
        array = np.empty(len(texts), dtype=object)
        array[:] = [text.encode() for text in texts]
        return array
    try:
        return np.array([float(text) if text else np.nan for text in texts]).astype(DATATYPES[spec.datatype].dtype)
    except ValueError as error:
        raise invalid(f"the file has text where input '{spec.name}' wants numbers: {error}") from error
