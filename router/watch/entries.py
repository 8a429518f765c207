"""Entries of streams as what they hold: those of the log as records, each with when it came; those of labels."""

from __future__ import annotations

from collections.abc import Sequence

from router.adapters.redis.stream_entries import StreamEntry
from router.monitor.counting import Arrived
from router.monitor.labels import Label, read_label
from router.requestlog.record import read_records


def read_entries(entries: Sequence[StreamEntry]) -> tuple[list[Arrived], list[tuple[str, bytes]]]:
    """Read records; what cannot be read is given back, as `(entry, bytes)`, to be kept aside."""
    arrivals: list[Arrived] = []
    poison: list[tuple[str, bytes]] = []
    for entry in entries:
        data = entry.fields.get(b"records", b"")
        reading = read_records(data)
        at = arrived_at(entry.id)
        arrivals += [Arrived(record, at) for record in reading.records]
        poison += [(entry.id, data[start:end]) for start, end in reading.corrupt]
        if reading.consumed < len(data):
            poison.append((entry.id, data[reading.consumed :]))
    return arrivals, poison


def arrived_at(entry_id: str) -> float:
    """Return the Unix seconds that a stream's id begins with."""
    return int(entry_id.partition("-")[0]) / 1000


def read_label_entry(entry: StreamEntry) -> Label | None:
    """Read a label; None for an entry that holds none, or one that is no label."""
    try:
        model, request_id, document, at = (entry.fields[key] for key in (b"model", b"request_id", b"label", b"at"))
        return read_label(model.decode(), request_id.decode(), document, at.decode())
    except (KeyError, UnicodeDecodeError):
        return None
