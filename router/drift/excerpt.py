"""An excerpt: a few rows of a stretch, drawn by lot, of which every reader draws the same. Pure.

The lot is a hash of the record's id, and an excerpt keeps the rows of the smallest lots: a uniform sample. The smallest
lots of a whole are among the smallest of its parts, so excerpts add up like panes do, in any order, to the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Excerpt = dict[int, bytes]
"""By lot: a row as FP32, the numeric inputs of a profile in their order, `MAX_FEATURES` at most."""

MAX_FEATURES: Final = 64
#: Rows kept of a slot of time, of a window, and of all quiet windows.
SLOT_ROWS: Final = 32
WINDOW_ROWS: Final = 256
QUIET_ROWS: Final = 512
_SPREAD: Final = 0x9E3779B1  # 2**32 over the golden ratio: the sums of neighbouring ids lie far apart


def lot_of(record_id: str) -> int:
    """Draw the lot of a record: 32 bits, without pattern among the records of one router."""
    return crc32(record_id.encode("utf-8", "replace")) * _SPREAD & 0xFFFFFFFF


def joined(some: Mapping[int, bytes], others: Mapping[int, bytes], most: int) -> Excerpt:
    """Join two excerpts, keeping the `most` smallest lots."""
    if not others and len(some) <= most:
        return dict(some)
    both = {**some, **others}
    return {lot: both[lot] for lot in nsmallest(most, both)}


def drawn(values: Floats, lots: Ints) -> Excerpt:
    """Make an excerpt of rows, given as [columns, rows], with the lot of each."""
    rows = np.ascontiguousarray(values[:MAX_FEATURES].T, dtype="<f4")
    return {lot: row.tobytes() for lot, row in zip(lots.tolist(), rows, strict=True)}


def matrix(excerpt: Mapping[int, bytes]) -> Floats:
    """Return the rows [rows, features], by lot."""
    rows = [np.frombuffer(excerpt[lot], "<f4") for lot in sorted(excerpt)]
    return np.array(rows, dtype=np.float64)
