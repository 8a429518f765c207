"""Logged payloads as columns of numbers: packed tensors of many requests stacked into few arrays. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec
import numpy as np

from serving.protocol.arrays import Array, to_array
from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer, Tensor
from serving.protocol.packing import header_bytes, read_entries

Schema = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, datatype and trailing axes of each tensor."""


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

    Payloads with equal headers differ in their data alone: a header is read once, and raw data is joined before it
    becomes an array, so that what is paid per request is two slices.

    Args:
        payloads: `Record.inputs` or `Record.outputs`, none empty.
        at: Unix seconds of each, as long as `payloads`.
    """
    alike: defaultdict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
    for payload, moment in zip(payloads, at, strict=True):
        header = header_bytes(payload)
        alike[header].append((bytes(payload[len(header) :]), hour_of_day(moment)))
    groups: defaultdict[Schema, list[_Run]] = defaultdict(list)
    unreadable = 0
    for header, members in alike.items():
        form = _form(header)
        whole = [member for member in members if form is not None and len(member[0]) == form.nbytes]
        unreadable += len(members) - len(whole)
        if form is not None and whole:
            groups[form.schema].append(_Run(form, [data for data, _ in whole], [hour for _, hour in whole]))
    tables = []
    for schema, runs in groups.items():
        try:
            tables.append(_stack(schema, runs))
        except (ServingError, ValueError, KeyError):
            unreadable += sum(len(run.hours) for run in runs)
    return Stacked(tuple(tables), unreadable)


def hour_of_day(at: float) -> int:
    """Return the hour, UTC, of Unix seconds."""
    return int(at // 3600) % 24


class _Form(NamedTuple):
    """What payloads with equal headers have in common."""

    schema: Schema
    rows: int
    ends: tuple[int, ...]
    """Where the data of each tensor ends."""

    @property
    def nbytes(self) -> int:
        return self.ends[-1]


class _Run(NamedTuple):
    """Payloads of one form."""

    form: _Form
    data: list[bytes]
    """Of all tensors, one after the other."""
    hours: list[int]


def _form(header: bytes) -> _Form | None:
    """Read a header; None when it cannot be read, or promises tensors that do not have the same number of rows."""
    try:
        entries = read_entries(header[4:])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not entries or any(not shape or shape[0] != entries[0][2][0] for _, _, shape, _ in entries):
        return None
    schema = tuple([(name, datatype, shape[1:]) for name, datatype, shape, _ in entries])
    return _Form(schema, entries[0][2][0], tuple(accumulate(nbytes for _, _, _, nbytes in entries)))


def _stack(schema: Schema, runs: Sequence[_Run]) -> Table:
    counts = [run.form.rows for run in runs for _ in run.hours]
    total = sum(counts)
    arrays = {}
    for i, (name, datatype, tail) in enumerate(schema):
        data = b"".join([_tensor_data(run, i) for run in runs])
        width = int(np.prod(tail, dtype=np.int64))
        arrays[name] = to_array(Tensor(name, datatype, (total, width), data))
    return Table(arrays, total, np.repeat([hour for run in runs for hour in run.hours], counts), len(counts))


def _tensor_data(run: _Run, number: int) -> bytes:
    """Join one tensor's data of all payloads; where it is the only one, nothing has to be cut."""
    if len(run.form.ends) == 1:
        return b"".join(run.data)
    start, end = (0, *run.form.ends)[number], run.form.ends[number]
    return b"".join([data[start:end] for data in run.data])
