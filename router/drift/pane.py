"""A pane: what a stretch of the stream adds up to, as one vector of integers. Pure.

Panes of one layout are a commutative monoid under addition: any number of consumers may each count any share of the
rows and be added up in any order, and the sum is, bit for bit, what one consumer would have counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router.drift.layout import UNIT, Layout

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pane:
    """Counts of some rows; the vector is never written to after it was given away."""

    layout: Layout
    vector: Ints

    @classmethod
    def empty(cls, layout: Layout) -> Pane:
        """Return the pane of no rows: the neutral element."""
        return cls(layout, np.zeros(layout.size, np.int64))

    @classmethod
    def from_bytes(cls, layout: Layout, data: bytes) -> Pane:
        """Read what `to_bytes` wrote for the same profile; `ValueError` if the size tells another."""
        if len(data) != 8 * layout.size:
            raise ValueError(f"a pane of {len(data)} bytes; the profile needs {8 * layout.size}")
        return cls(layout, np.frombuffer(data, dtype="<i8").astype(np.int64))

    def to_bytes(self) -> bytes:
        """Write the vector, little-endian: to be kept, sent, and added elsewhere."""
        return self.vector.astype("<i8").tobytes()

    def __add__(self, other: Pane) -> Pane:
        if other.vector.shape != self.vector.shape:
            raise ValueError("panes of different layouts cannot be added")
        return Pane(self.layout, self.vector + other.vector)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pane) and np.array_equal(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]

    @property
    def rows(self) -> int:
        """Rows of inputs."""
        return int(self.hours.sum())

    @property
    def hours(self) -> Ints:
        """Rows by hour of day, UTC: [24]."""
        return self.vector[self.layout.hours]

    @property
    def messages(self) -> int:
        """Payloads that were looked at."""
        return int(self.vector[self.layout.messages])

    @property
    def broken(self) -> int:
        """Payloads that could not be read or did not fit the profile."""
        return int(self.vector[self.layout.broken])

    @property
    def scores(self) -> Ints:
        """Rows by score on the grid of the layout; empty where scores are not counted on it."""
        return self.vector[self.layout.scores]

    def counts(self, name: str) -> Ints:
        """Return the bins of a column."""
        return self.vector[self.layout.place(name).bins]

    def moments(self, name: str) -> tuple[float, float, int] | None:
        """Return mean and deviation of a numeric column in deviations of the reference, and the rows behind them."""
        place = self.layout.place(name)
        known = int(self.vector[place.bins][1:].sum())
        if place.moments.start == place.moments.stop or not known:
            return None
        total, squares = (int(value) for value in self.vector[place.moments])
        variance = max(0, known * squares - total * total) / (known * UNIT) ** 2
        return total / (known * UNIT), float(variance**0.5), known
