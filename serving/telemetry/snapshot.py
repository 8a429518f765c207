"""What one process has counted, as a value: merge, and the bytes of its file. Pure.

Merging is a commutative monoid: snapshots may be merged in any order and grouping, and the empty one changes nothing.
That is what lets dead processes be folded into one file early, and the living be added at each scrape, with the same
result. To keep the operation total, a histogram's bounds belong to its key: distributions that cannot be added never
meet.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from operator import add
from typing import Protocol, Self, TypeVar

import msgspec

LabelValues = tuple[str, ...]
"""Values in the order of the metric's declared labels; a per-process gauge appends the process."""

HistogramKey = tuple[str, tuple[float, ...]]
"""A histogram's name and bounds."""


class _Additive(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


_Name = TypeVar("_Name", bound=Hashable)
_Value = TypeVar("_Value", bound=_Additive)


class Distribution(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Observations counted per bucket (not cumulated), and their sum."""

    counts: tuple[int, ...]
    """One per bound, then one for everything above the last."""
    sum: float

    def __add__(self, other: Distribution) -> Distribution:
        return Distribution(tuple(map(add, self.counts, other.counts)), self.sum + other.sum)


class Snapshot(msgspec.Struct, frozen=True):
    """All series by metric, then by label values."""

    counters: dict[str, dict[LabelValues, float]] = {}
    gauges: dict[str, dict[LabelValues, float]] = {}
    histograms: dict[HistogramKey, dict[LabelValues, Distribution]] = {}

    def __post_init__(self) -> None:
        for (name, bounds), series in self.histograms.items():
            if any(len(distribution.counts) != len(bounds) + 1 for distribution in series.values()):
                raise ValueError(f"{name}: a histogram of {len(bounds)} bounds has {len(bounds) + 1} counts")


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Add up series that agree in metric and labels; keep the others side by side."""
    merged = Snapshot({}, {}, {})
    for snapshot in snapshots:
        _add_into(merged.counters, snapshot.counters)
        _add_into(merged.gauges, snapshot.gauges)
        _add_into(merged.histograms, snapshot.histograms)
    return merged


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """Return what stays true of a process after its end."""
    return Snapshot(counters=snapshot.counters, histograms=snapshot.histograms)


class Published(msgspec.Struct, frozen=True, tag="shepherd.metrics.1"):
    """The content of a living process' file. The tag names the format: files of another one do not decode."""

    snapshot: Snapshot


class Retired(msgspec.Struct, frozen=True, tag="shepherd.retired.1"):
    """The content of the file into which dead processes are folded."""

    snapshot: Snapshot = Snapshot()
    folded: frozenset[str] = frozenset()
    """Files already counted in `snapshot` that may still lie in the folder."""


_encoder = msgspec.msgpack.Encoder()
_published = msgspec.msgpack.Decoder(Published)
_retired = msgspec.msgpack.Decoder(Retired)


def encode(content: Published | Retired) -> bytes:
    """Return the bytes of a file."""
    return _encoder.encode(content)


def decode_published(data: bytes) -> Published:
    """Read a living process' file.

    Raises:
        msgspec.DecodeError: torn, alien, or of another format (its subclass ValidationError included).
    """
    return _published.decode(data)


def decode_retired(data: bytes) -> Retired:
    """Read the file of the dead; raises as `decode_published` does."""
    return _retired.decode(data)


def _add_into(
    merged: dict[_Name, dict[LabelValues, _Value]], metrics: Mapping[_Name, Mapping[LabelValues, _Value]]
) -> None:
    for name, series in metrics.items():
        known = merged.setdefault(name, {})
        for labels, value in series.items():
            known[labels] = known[labels] + value if labels in known else value
