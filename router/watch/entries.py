"""Entries of the log's stream as records, each with the moment at which it came to the log."""

from __future__ import annotations

from collections.abc import Sequence

from router.adapters.redis.stream_entries import StreamEntry
from router.monitor.counting import Arrived
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
