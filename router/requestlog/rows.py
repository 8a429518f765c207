"""Records as rows of a table: features as served, answers, and labels as of a time. Pure.

One row of the table for each row of the request. Columns: those of `FIXED`, then for each tensor of an answered request
`input.NAME` and `output.NAME`, with `[i]` where a row has several values; a row of more than `MAX_WIDTH` values, and a
tensor that has no rows, is one column of lists, `[]`. BYTES become text. A payload that was left out leaves its columns
out.

Clients choose neither the names of columns nor their datatypes. A request that was refused may name tensors that no
model has, so it has no tensor columns; looked-up features, whose names clients make up, share one column. A name stands
for one datatype within a version: the three forms of name tell apart a value, one of several, and a list, also for a
tensor whose own name ends in a bracket (which is always a list).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from router.requestlog.label import Label, LabelValue
from router.requestlog.record import OK, Record
from serving.protocol.arrays import Array, to_array
from serving.protocol.errors import ServingError
from serving.protocol.messages import Tensor
from serving.protocol.packing import unpack_tensors

MAX_WIDTH: Final = 256

FIXED: Final[Mapping[str, str]] = {
    "record_id": "text",
    "row": "integer",
    "at": "time",
    "version": "integer",
    "variant": "text",
    "kind": "text",
    "reason": "text",
    "revision": "integer",
    "protocol": "text",
    "key": "text",
    "request_id": "text",
    "primary_id": "text",
    "outcome": "text",
    "message": "text",
    "duration_us": "integer",
    "queue_us": "integer",
    "batch_size": "integer",
    "inputs_truncated": "truth",
    "outputs_truncated": "truth",
    "label": "text",
    "label_number": "real",
    "label_at": "time",
    "outcome_value": "real",
    "features": "text",
}
"""Columns that every row has, and their kinds. Those of a record are named as its fields; `label` and `features` are
JSON."""
LABEL_COLUMNS: Final[Mapping[str, str]] = {
    "request_id": "text",
    "row": "integer",
    "at": "time",
    "label": "text",
    "label_number": "real",
    "outcome_value": "real",
}
"""Columns of a table of labels: one row for each value, in the order in which they came; `label` is JSON."""
_OF_RECORD: Final = [name for name in FIXED if name in Record.__struct_fields__]
_to_json = msgspec.json.Encoder(order="sorted").encode


class KnownLabel(NamedTuple):
    """What was known of a request at some time."""

    label: Label
    at: float


class Rows(NamedTuple):
    """One record's rows."""

    model: str
    day: date
    """UTC."""
    schema: tuple[tuple[str, str], ...]
    """Name and datatype of each tensor column: records in which a name has one datatype fit into one table."""
    rows: list[dict[str, Any]]


class LabelsAsOf:
    """The last label, and the last outcome, of each request that had come by a time: what a training then had known."""

    def __init__(self, as_of: float = float("inf")) -> None:
        self.as_of = as_of
        self._labels: dict[tuple[str, str], KnownLabel] = {}

    def add(self, model: str, label: Label, at: float) -> None:
        """Take a label, in the order of their coming."""
        if at > self.as_of:
            return
        key = (model, label.request_id)
        before = self._labels.get(key)
        if before is not None:
            label = Label(
                label.request_id,
                before.label.label if label.label is None else label.label,
                before.label.outcome if label.outcome is None else label.outcome,
            )
        self._labels[key] = KnownLabel(label, at)

    def of(self, record: Record) -> KnownLabel | None:
        """Find what was known of a record's request; a shadow's is the one that its primary answered."""
        return self._labels.get((record.model, record.primary_id or record.request_id))


def rows_of(record: Record, known: KnownLabel | None = None) -> Rows:
    """Lay a record out; a payload that cannot be read counts as left out.

    Raises:
        ValueError: the record's time is in no calendar.
    """
    at = _moment(record.at)
    payloads = (("input", record.inputs), ("output", record.outputs)) if record.outcome == OK else ()
    tensors = {f"{side}.{tensor.name}": tensor for side, packed in payloads for tensor in _tensors(packed)}
    count = _common_rows(tensors.values())
    columns = [column for name, tensor in tensors.items() for column in _columns(name, tensor, count)]
    fixed = {name: getattr(record, name) for name in _OF_RECORD}
    fixed |= {"record_id": record.id, "at": at, "outcome_value": known.label.outcome if known else None}
    fixed["features"] = _to_json(record.features).decode() if record.features else None
    values = [array.tolist() for _, _, array in columns]
    rows = []
    for row in range(count):
        data = {name: _plain(column[row]) for (name, _, _), column in zip(columns, values, strict=True)}
        rows.append({**fixed, "row": row, **_label(known, row, count), **data})
    return Rows(record.model, at.date(), tuple((name, datatype) for name, datatype, _ in columns), rows)


def label_rows(model: str, label: Label, at: float) -> Rows:
    """Lay a posted label out; one with an outcome alone has one row without label. Raises as `rows_of`."""
    values = label.label if isinstance(label.label, tuple) else (label.label,)
    fixed = {"request_id": label.request_id, "at": _moment(at), "outcome_value": label.outcome}
    rows = [{**fixed, "row": row, **_value(value)} for row, value in enumerate(values)]
    return Rows(model, _moment(at).date(), (), rows)


def _tensors(packed: bytes) -> tuple[Tensor, ...]:
    try:
        tensors = unpack_tensors(packed) if packed else ()
        for tensor in tensors:
            to_array(tensor)
        return tensors
    except (ServingError, ValueError, KeyError):
        return ()


def _common_rows(tensors: Iterable[Tensor]) -> int:
    counts = {tensor.shape[0] if tensor.shape else 1 for tensor in tensors}
    return counts.pop() if len(counts) == 1 else 1


def _columns(name: str, tensor: Tensor, rows: int) -> Iterator[tuple[str, str, Array]]:
    """Yield name, datatype and [rows] or [rows, width] of each column."""
    array = to_array(tensor)
    if tensor.datatype == "BF16":  # numpy has its bits only
        array = (array.astype(np.uint32) << 16).view(np.float32)
    flat = array.reshape(rows, -1) if tensor.shape and tensor.shape[0] == rows and array.size else array.reshape(1, -1)
    width = flat.shape[1]
    if len(flat) != rows or width > MAX_WIDTH or not width or name.endswith("]"):
        yield f"{name}[]", f"{tensor.datatype}[]", np.broadcast_to(flat, (rows, width)) if len(flat) != rows else flat
    elif width == 1:
        yield name, tensor.datatype, flat[:, 0]
    else:
        for i in range(width):
            yield f"{name}[{i}]", tensor.datatype, flat[:, i]


def _label(known: KnownLabel | None, row: int, rows: int) -> dict[str, Any]:
    """Give the row's label; one value for several rows, or another number of values, is nobody's."""
    nothing = {"label": None, "label_number": None, "label_at": None if known is None else _moment(known.at)}
    if known is None or known.label.label is None:
        return nothing
    labels = known.label.label if isinstance(known.label.label, tuple) else (known.label.label,)
    if len(labels) != rows:
        return nothing
    return {**nothing, **_value(labels[row])}


def _value(value: LabelValue | None) -> dict[str, Any]:
    if value is None:
        return {"label": None, "label_number": None}
    number = None if isinstance(value, str) else float(value)
    return {"label": msgspec.json.encode(value).decode(), "label_number": number}


def _moment(at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{at} s is in no calendar") from None


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
