"""The request log as Parquet files, one folder per model and day: `model=NAME/date=YYYY-MM-DD/part-00001.parquet`.

That layout is Hive's: pandas, Polars, DuckDB and Spark read `model` and `date` from the names of the folders. A file is
whole or not there. The only module that knows pyarrow, which comes with the extra `export`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from router.requestlog.rows import FIXED, Rows

_PART_ROWS: Final = 50_000
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

_Schema = tuple[tuple[str, str], ...]


class RowSink(Protocol):
    """Where exported rows go; write another class for another place."""

    def write(self, rows: Rows) -> None:
        """Take one record's rows."""

    def close(self) -> None:
        """Finish."""


class ParquetFolder:
    """A `RowSink`. Raises `FileExistsError` for a folder that holds something: a second export would double rows."""

    def __init__(self, root: Path, *, part_rows: int = _PART_ROWS) -> None:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise FileExistsError(17, "is not empty; export into a fresh folder", str(root))
        self._root = root
        self._part_rows = part_rows
        self._waiting: defaultdict[tuple[str, str, _Schema], list[dict[str, Any]]] = defaultdict(list)
        self._rows_waiting = 0
        self._parts = 0

    def write(self, rows: Rows) -> None:
        """Keep rows until a part is full; records of another schema go into a part of their own."""
        self._waiting[rows.model, rows.day.isoformat(), rows.schema] += rows.rows
        self._rows_waiting += len(rows.rows)
        if self._rows_waiting >= self._part_rows:
            self.close()

    def close(self) -> None:
        """Write what waits."""
        for (model, day, schema), rows in self._waiting.items():
            named = quote(model, safe="") or _NO_MODEL
            self._write_part(self._root / f"model={named}" / f"date={day}", schema, rows)
        self._waiting.clear()
        self._rows_waiting = 0

    def _write_part(self, folder: Path, schema: _Schema, rows: list[dict[str, Any]]) -> None:
        fields = [(name, _TYPES[kind]) for name, kind in FIXED.items()]
        fields += [(name, _type_of(datatype)) for name, datatype in schema]
        table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
        folder.mkdir(parents=True, exist_ok=True)
        self._parts += 1
        path = folder / f"part-{self._parts:05d}.parquet"
        unfinished = path.with_suffix(".tmp")
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(path)


def _type_of(datatype: str) -> Any:
    return pa.list_(_DATATYPES[datatype[:-2]]) if datatype.endswith("[]") else _DATATYPES[datatype]
