"""What one turn of the monitor reads, and what it changes: all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from router.adapters.redis.stream_entries import StreamEntry
from router.monitor.counting import Kept
from router.monitor.incident import Transition
from router.monitor.labels import Prediction
from router.monitor.state import Version


class Entries(NamedTuple):
    """What was read at once."""

    log: list[StreamEntry]
    counts: list[StreamEntry]
    labels: list[StreamEntry]


class Found(msgspec.Struct, frozen=True):
    """What is known of a request id: its answer and where that lies; no answer when it had its label already."""

    key: str
    prediction: Prediction | None


class Commit(msgspec.Struct, kw_only=True):
    """What one turn of the monitor changes."""

    parts: Mapping[str, bytes] = {}
    seen: Mapping[str, int] = {}
    references: Mapping[Version, str] = {}
    """Names of the profiles that were adopted."""
    trials: Mapping[str, str] = {}
    """Ids of trials that have begun, by model."""
    log_ids: Sequence[str] = ()
    count_ids: Sequence[str] = ()
    label_ids: Sequence[str] = ()
    kept: Sequence[Kept] = ()
    labelled: Sequence[tuple[str, str]] = ()
    """Key and request id of answers that have their label now."""
    poison: Sequence[tuple[str, bytes]] = ()
    """Entry's id and the bytes."""
    transitions: Sequence[Transition] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not any(getattr(self, name) for name in self.__struct_fields__)
