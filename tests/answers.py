"""Answers to be recorded, their log on disk, and an independent count of what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router.adapters.files.spool import RecordLog, Spool, SpoolLimits
from router.gateway.log.recorder import Recorder
from router.requestlog.record import PRIMARY, SCHEMA, Record, read_records, record_id

SMALL = SpoolLimits(max_bytes=1 << 20, segment_bytes=4096)
"""Segments small enough that a test sees several."""


def a_record(sequence: int = 1, incarnation: str = "r1", **changes: Any) -> Record:
    fields: dict[str, Any] = {"schema": SCHEMA, "id": record_id(incarnation, sequence), **_answer(sequence)}
    return Record(**{**fields, **changes})


def add_answer(recorder: Recorder, sequence: int = 1, **changes: Any) -> None:
    """Go the way of an answer, with fields of `Record` as they come from the request path."""
    fields = {"primary_id": "", "inputs": b"", "outputs": b"", "features": {}, **_answer(sequence), **changes}
    model, key = fields.pop("model"), fields.pop("key")
    column = recorder.admit(model, fields["kind"], fields["primary_id"] or fields["request_id"])
    if not column:
        return
    names = ("key", "inputs", "outputs", "inputs_truncated", "outputs_truncated", "features")
    kept = recorder.payload(model, key, fields["inputs"], fields["outputs"], fields["features"])
    fields |= dict(zip(names, kept, strict=True))
    recorder.keep(column, Record(schema=SCHEMA, id=recorder.next_id(), model=model, **fields))


def a_recorder(log: RecordLog, incarnation: str = "r1", **settings: Any) -> Recorder:
    return Recorder(log, incarnation=incarnation, **settings)


def a_spool(root: Path, incarnation: str = "r1", limits: SpoolLimits = SMALL) -> Spool:
    return Spool.open(root, incarnation, limits)


def leave_as_killed(spool: Spool) -> None:
    """Leave a spool as its process's death would: files as they are, lock free, nothing tidied."""
    spool.close()
    spool.folder.close()


def records_on_disk(folder: Path) -> list[Record]:
    """Read every whole record of an incarnation's segments, without the code under test that counts them."""
    return [record for segment in sorted(folder.glob("*.seg")) for record in read_records(segment.read_bytes()).records]


def _answer(sequence: int) -> dict[str, Any]:
    return {
        "kind": PRIMARY,
        "at": 1_700_000_000.25,
        "model": "flights",
        "version": 3,
        "variant": "stable",
        "reason": "split",
        "revision": 7,
        "protocol": "http",
        "key": "customer-1",
        "request_id": f"request-{sequence}",
        "outcome": "ok",
        "message": "",
        "duration_us": 1500,
        "queue_us": 20,
        "batch_size": 4,
        "inputs": b"packed inputs",
        "outputs": b"packed outputs",
    }
