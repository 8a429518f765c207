"""Parts of a table of the request log as Parquet files, each whole or not there. The only module that knows pyarrow.

The layout is Hive's, `model=NAME/date=YYYY-MM-DD/part-….parquet`: pandas, Polars, DuckDB and Spark read `model` and
`date` from the names of the folders. pyarrow comes with the extra `export`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from router.requestlog.rows import FIXED, Rows
from serving.atomic_file import replacing

_log = logging.getLogger(__name__)

#: How Hive calls a partition without a value: requests that named no known model.
_NO_MODEL: Final = "__HIVE_DEFAULT_PARTITION__"
_TYPES: Final = {
    "text": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "truth": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
}
_DATATYPES: Final = {
    "BOOL": pa.bool_(),
    "UINT8": pa.uint8(),
    "UINT16": pa.uint16(),
    "UINT32": pa.uint32(),
    "UINT64": pa.uint64(),
    "INT8": pa.int8(),
    "INT16": pa.int16(),
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "FP16": pa.float32(),
    "BF16": pa.float32(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
    "BYTES": pa.string(),
}


#: What pyarrow raises for a value that its column cannot hold.
_UNFIT: Final = (ValueError, TypeError, OverflowError)


class Part:
    """Rows on their way into one file; packed into columns as they come, so that many take little memory.

    The file has the columns of all its records, empty where a record has them not.
    """

    _CHUNK_ROWS: Final = 1000

    def __init__(self, fixed: Mapping[str, str] = FIXED) -> None:
        self.left_out = 0
        """Records that no Parquet file can hold, among those packed so far."""
        self._fields = [(name, _TYPES[kind]) for name, kind in fixed.items()]
        self._datatypes: dict[str, str] = {}
        self._records: list[list[dict[str, Any]]] = []
        self._rows_waiting = 0
        self._tables: list[Any] = []

    def fits(self, rows: Rows) -> bool:
        """Tell whether no column would need two types."""
        return all(self._datatypes.get(name, datatype) == datatype for name, datatype in rows.schema)

    def add(self, rows: Rows) -> None:
        """Take the rows of a record that fits."""
        self._datatypes.update(rows.schema)
        self._records.append(rows.rows)
        self._rows_waiting += len(rows.rows)
        if self._rows_waiting >= self._CHUNK_ROWS:
            self._pack()

    def write(self, path: Path, *, durable: bool = False) -> None:
        """Put the file in place, with its folders; `durable` also against a loss of power."""
        if self._records or not self._tables:  # a write that failed is tried again
            self._pack()
        table = pa.concat_tables(self._tables, promote_options="default")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=durable, mode=0o666) as unfinished:  # hidden, as readers of folders need
            pq.write_table(table, unfinished, compression="zstd")

    def _pack(self) -> None:
        schema = pa.schema([*self._fields, *((name, _type_of(each)) for name, each in self._datatypes.items())])
        try:
            self._tables.append(_table(self._records, schema))
        except _UNFIT:
            self._tables.append(_table([each for each in self._records if self._can_be_kept(each, schema)], schema))
        self._records = []
        self._rows_waiting = 0

    def _can_be_kept(self, record: list[dict[str, Any]], schema: Any) -> bool:
        try:
            _table([record], schema)
        except _UNFIT as error:
            self.left_out += 1
            name = record[0].get("record_id") or record[0].get("request_id")
            _log.error("Parquet cannot hold what the log has of %s, and it is left out: %s", name, error)
            return False
        return True


class Placed(NamedTuple):
    """A part and where it belongs."""

    model: str
    day: str
    number: int
    """Among the parts of that model and day, from 0."""
    part: Part


class Parts:
    """Rows on their way into files: one for each model and day, and further ones only where datatypes contradict."""

    def __init__(self, fixed: Mapping[str, str] = FIXED) -> None:
        self._fixed = fixed
        self._parts: dict[tuple[str, str], list[Part]] = {}

    def add(self, rows: Rows) -> None:
        """Take a record's rows."""
        parts = self._parts.setdefault((rows.model, rows.day.isoformat()), [])
        part = next((each for each in parts if each.fits(rows)), None)
        if part is None:
            part = Part(self._fixed)
            parts.append(part)
        part.add(rows)

    def __iter__(self) -> Iterator[Placed]:
        for (model, day), parts in self._parts.items():
            for number, part in enumerate(parts):
                yield Placed(model, day, number, part)

    def clear(self) -> int:
        """Forget what was written; return how many of its records no file could hold."""
        left_out = sum(each.part.left_out for each in self)
        self._parts.clear()
        return left_out


def _table(records: list[list[dict[str, Any]]], schema: Any) -> Any:
    return pa.Table.from_pylist([row for record in records for row in record], schema=schema)


def partition(root: Path, model: str, day: str) -> Path:
    """Name the folder of a model's day."""
    return root / f"model={quote(model, safe='') or _NO_MODEL}" / f"date={day}"


def _type_of(datatype: str) -> Any:
    return pa.list_(_DATATYPES[datatype[:-2]]) if datatype.endswith("[]") else _DATATYPES[datatype]
