"""Logged payloads as columns of numbers: packed tensors of many requests stacked into few arrays. Pure.

Requests of one client look alike: the header of their packed tensors is the same, byte for byte, and so are the places
of everything behind it. So payloads are grouped by header, and a group costs about what one payload costs.

The rows of a request are the first axis of its tensors. Where that differs, as beside a score for each row there may be
one temperature for the whole request, it is the first axis of the tensors that have most axes; the others are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from serving.protocol.arrays import Array, bytes_array
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer
from serving.protocol.packing import Entry, read_entries

Ints = npt.NDArray[np.int64]
Schema = tuple[tuple[tuple[str, str, tuple[int, ...]], ...], frozenset[str]]
"""Name, datatype and shape without the first axis of each tensor; names of those that are left out."""

_UNREADABLE: Final = (ServingError, ValueError, KeyError, OverflowError, msgspec.MsgspecError)


class Table(NamedTuple):
    """Rows that had tensors of the same names, datatypes and widths."""

    tensors: dict[str, Array]
    """By name: [rows, width], the first axis being the rows, all others flattened."""
    owner: Ints
    """[rows], ascending runs: which payload of the batch each row is of."""
    left_out: frozenset[str] = frozenset()
    """Names of further tensors that the payloads have, but not one entry for each row."""


class Stacked(NamedTuple):
    """What a batch of payloads held."""

    tables: tuple[Table, ...]
    """One per schema that occurred: usually one."""
    unreadable: tuple[int, ...]
    """Payloads that are no packed tensors, or have no tensor with a first axis."""
    present: tuple[int, ...]
    """Payloads that are not empty."""


def stack_rows(payloads: Sequence[Buffer]) -> Stacked:
    """Stack the packed tensors of many requests.

    Args:
        payloads: `Record.inputs` or `Record.outputs`; empty ones are left out.
    """
    groups, present = _by_header(payloads)
    found: defaultdict[Schema, list[Table]] = defaultdict(list)
    unreadable: list[int] = []
    for header, members in groups.items():
        try:
            size = len(header) + sum(nbytes for *_, nbytes in read_entries(header[4:]))
            whole = [i for i in members if len(payloads[i]) == size]
            schema, table = _stack(header, [bytes(payloads[i]) for i in whole], whole)
        except _UNREADABLE:
            unreadable += members
            continue
        found[schema].append(table)
        unreadable += sorted(set(members).difference(whole))
    return Stacked(tuple(_joined(tables) for tables in found.values()), tuple(unreadable), tuple(present))


def _by_header(payloads: Sequence[Buffer]) -> tuple[dict[bytes, list[int]], list[int]]:
    groups: dict[bytes, list[int]] = {}
    present: list[int] = []
    last, members = b"", present
    for i, payload in enumerate(payloads):
        if not payload:
            continue
        present.append(i)
        # Headers begin with their length, so none is the beginning of another one.
        if not last or payload[: len(last)] != last:
            last = bytes(payload[: 4 + int.from_bytes(payload[:4], "little")])
            members = groups.setdefault(last, [])
        members.append(i)
    return groups, present


def _stack(header: bytes, payloads: Sequence[bytes], members: Sequence[int]) -> tuple[Schema, Table]:
    """Stack payloads of one header and of the size that it says; one of `_UNREADABLE` for what is no packed tensors."""
    entries = read_entries(header[4:])
    rows = _rows([shape for _, _, shape, _ in entries])
    if rows < 0 or not payloads or any(min((*shape, nbytes)) < 0 for _, _, shape, nbytes in entries):
        raise ValueError("no tensor has rows, or none is whole")
    block = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), -1)
    start, arrays = len(header), {}
    for entry in entries:
        end = start + entry[3]
        if entry[2][:1] == (rows,):
            arrays[entry[0]] = _array(entry, block[:, start:end], rows * len(payloads))
        start = end
    left_out = frozenset([entry[0] for entry in entries]).difference(arrays)
    schema = tuple([(name, datatype, shape[1:]) for name, datatype, shape, _ in entries if name in arrays])
    return (schema, left_out), Table(arrays, np.repeat(np.array(members, np.int64), rows), left_out)


def _rows(shapes: Sequence[tuple[int, ...]]) -> int:
    """Tell how many rows a request with tensors of these shapes has; -1 when none has a first axis."""
    axes = max(map(len, shapes), default=0)
    counted = Counter([shape[0] for shape in shapes if shape and len(shape) == axes])
    return max(counted, key=lambda rows: (counted[rows], rows), default=-1)


def _array(entry: Entry, raw: npt.NDArray[np.uint8], rows: int) -> Array:
    _, datatype, shape, _ = entry
    width = int(np.prod(shape[1:], dtype=np.int64))
    if datatype == "BYTES":
        return bytes_array(raw.tobytes(), (rows, width))
    return np.frombuffer(raw.tobytes(), DATATYPES[datatype].dtype).reshape(rows, width)


def _joined(tables: Sequence[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    names = tables[0].tensors
    arrays = {name: np.concatenate([table.tensors[name] for table in tables]) for name in names}
    return Table(arrays, np.concatenate([table.owner for table in tables]), tables[0].left_out)
