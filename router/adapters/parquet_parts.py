"""Parts of a table of the request log as Parquet files, each whole or not there. The only module that knows pyarrow.

The layout is Hive's, `model=NAME/date=YYYY-MM-DD/part-….parquet`: pandas, Polars, DuckDB and Spark read `model` and
`date` from the names of the folders. pyarrow comes with the extra `export`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from router.requestlog.rows import FIXED

Schema = tuple[tuple[str, str], ...]
"""Names and datatypes of the columns beyond the fixed ones."""

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


class Part:
    """Rows on their way into one file; packed into columns as they come, so that many take little memory."""

    _CHUNK_ROWS: Final = 1000

    def __init__(self, schema: Schema, fixed: Mapping[str, str] = FIXED) -> None:
        fields = [(name, _TYPES[kind]) for name, kind in fixed.items()]
        fields += [(name, _type_of(datatype)) for name, datatype in schema]
        self._schema = pa.schema(fields)
        self._rows: list[dict[str, Any]] = []
        self._tables: list[Any] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take rows."""
        self._rows += rows
        if len(self._rows) >= self._CHUNK_ROWS:
            self._pack()

    def write(self, path: Path, *, durable: bool = False) -> None:
        """Put the file in place, with its folders; `durable` also against a loss of power."""
        self._pack()
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.tmp")  # hidden: readers of folders take every other name for data
        pq.write_table(pa.concat_tables(self._tables), unfinished, compression="zstd")
        if durable:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)

    def _pack(self) -> None:
        self._tables.append(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def partition(root: Path, model: str, day: str) -> Path:
    """Name the folder of a model's day."""
    return root / f"model={quote(model, safe='') or _NO_MODEL}" / f"date={day}"


def _type_of(datatype: str) -> Any:
    return pa.list_(_DATATYPES[datatype[:-2]]) if datatype.endswith("[]") else _DATATYPES[datatype]
