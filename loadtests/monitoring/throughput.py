"""How many logged rows a second one core decodes and counts."""

from __future__ import annotations

from time import perf_counter
from typing import Final

import numpy as np

from loadtests.monitoring.drift import reference_profile
from loadtests.monitoring.streams import clean
from router.drift.binning import Binner
from router.requestlog.record import OK, PRIMARY, SCHEMA, Record, encode_record, read_records, record_id
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors

_ROWS: Final = 20_000
_BATCH: Final = 2000


def rows_per_second() -> float:
    """Decode frames of one row and 30 features each, and count them; the best of three."""
    rng = np.random.default_rng(0)
    binner, rows = Binner(reference_profile(rng)), clean(rng, _ROWS)
    frames = []
    for i in range(_ROWS):
        inputs = pack_tensors([to_tensor("x", rows.features[i : i + 1].astype(np.float32))])
        outputs = pack_tensors([to_tensor("score", rows.score[i : i + 1, None].astype(np.float32))])
        frames.append(encode_record(_record(i, inputs, outputs)))
    batches = [b"".join(frames[start : start + _BATCH]) for start in range(0, _ROWS, _BATCH)]
    return max(_ROWS / _seconds(binner, batches) for _ in range(3))


def _seconds(binner: Binner, batches: list[bytes]) -> float:
    started = perf_counter()
    for batch in batches:
        records = read_records(batch).records
        binner.bin_payloads([r.inputs for r in records], [r.outputs for r in records], [r.at for r in records])
    return perf_counter() - started


def _record(i: int, inputs: bytes, outputs: bytes) -> Record:
    return Record(
        schema=SCHEMA,
        id=record_id("measured", i + 1),
        kind=PRIMARY,
        at=1e9 + i,
        model="measured",
        version=1,
        variant="stable",
        reason="split",
        revision=1,
        protocol="http",
        key="",
        request_id=str(i),
        outcome=OK,
        message="",
        duration_us=100,
        queue_us=10,
        batch_size=1,
        inputs=inputs,
        outputs=outputs,
    )
