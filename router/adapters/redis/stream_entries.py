"""Entries of the streams that the monitor and its counters read, as one consumer group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import msgspec

GROUP: Final = "monitor"
#: Unreadable pieces that are kept aside, the latest.
MAX_POISON: Final = 1000


class StreamEntry(msgspec.Struct, frozen=True):
    """One entry as it lies in a stream; without fields when it was trimmed before it was read."""

    id: str
    fields: Mapping[bytes, bytes]


def by_stream(answer: Any) -> defaultdict[str, list[StreamEntry]]:
    """Sort what a read of streams found."""
    found: defaultdict[str, list[StreamEntry]] = defaultdict(list)
    pairs = answer.items() if isinstance(answer, dict) else answer or ()
    for stream, entries in pairs:
        found[stream.decode()] += [StreamEntry(entry.decode(), fields or {}) for entry, fields in entries]
    return found
