"""Logged payloads as columns of numbers: packed tensors of many requests stacked into few arrays. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from serving.protocol.arrays import Array, to_array
from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer, Tensor
from serving.protocol.packing import unpack_tensors


class Table(NamedTuple):
    """Rows that had tensors of the same names, datatypes and widths."""

    tensors: dict[str, Array]
    """By name: [rows, width], the first axis being the rows, all others flattened."""
    rows: int
    hours: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Hour of day of each row, UTC."""
    messages: int


class Stacked(NamedTuple):
    """What a batch of payloads held."""

    tables: tuple[Table, ...]
    """One per schema that occurred: usually one."""
    unreadable: int
    """Payloads that are no packed tensors, or whose tensors have other numbers of rows."""


def stack_rows(payloads: Sequence[Buffer], at: Sequence[float]) -> Stacked:
    """Stack the packed tensors of many requests.

    Raw data is joined before it becomes an array, so that the cost of numpy is paid per schema, not per request.

    Args:
        payloads: `Record.inputs` or `Record.outputs`, none empty.
        at: Unix seconds of each, as long as `payloads`.
    """
    groups: defaultdict[tuple[tuple[str, str, tuple[int, ...]], ...], list[tuple[tuple[Tensor, ...], int, int]]]
    groups = defaultdict(list)
    unreadable = 0
    for payload, moment in zip(payloads, at, strict=True):
        try:
            tensors = unpack_tensors(payload)
        except ServingError:
            unreadable += 1
            continue
        rows = tensors[0].shape[0] if tensors and tensors[0].shape else 0
        if not tensors or any(not tensor.shape or tensor.shape[0] != rows for tensor in tensors):
            unreadable += 1
            continue
        schema = tuple([(tensor.name, tensor.datatype, tensor.shape[1:]) for tensor in tensors])
        groups[schema].append((tensors, rows, hour_of_day(moment)))
    tables = []
    for schema, members in groups.items():
        try:
            tables.append(_stack(schema, members))
        except (ServingError, ValueError, KeyError):
            unreadable += len(members)
    return Stacked(tuple(tables), unreadable)


def hour_of_day(at: float) -> int:
    """Return the hour, UTC, of Unix seconds."""
    return int(at // 3600) % 24


def _stack(
    schema: tuple[tuple[str, str, tuple[int, ...]], ...], members: list[tuple[tuple[Tensor, ...], int, int]]
) -> Table:
    rows = [member[1] for member in members]
    total = sum(rows)
    arrays = {}
    for i, (name, datatype, tail) in enumerate(schema):
        data = b"".join([member[0][i].data for member in members])
        width = int(np.prod(tail, dtype=np.int64))
        arrays[name] = to_array(Tensor(name, datatype, (total, width), data))
    return Table(arrays, total, np.repeat([member[2] for member in members], rows), len(members))
