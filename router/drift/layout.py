"""Where each count of a pane lies in its one vector of integers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

from router.drift.profile import HOURS, Column, NumericColumn, Profile

#: Fixed point of standardised values: sums of integers are exact in any order, sums of floats are not.
UNIT: Final = 1 << 10
#: Standardised values are cut at this many deviations before they are summed: the squares of 2**27 rows fit 63 bits,
#: and a window has a million rows at most, beside those of one slot.
CUT: Final = 256.0
#: Scores are also counted on a grid of so many equal bins over [0, 1]: what an estimate without labels is made of.
SCORE_GRID: Final = 256


class Place(NamedTuple):
    """A column's part of the vector."""

    bins: slice
    moments: slice
    """Of numeric columns: sum and sum of squares of the standardised values in units of 1 / UNIT; else empty."""


@dataclass(frozen=True)
class Layout:
    """Vector: counts of each column, moments of each numeric one, rows by hour, messages, broken messages, scores."""

    columns: tuple[Column, ...]
    has_scores: bool = False
    """Scores are counted on the grid too."""
    places: tuple[Place, ...] = field(init=False)
    hours: slice = field(init=False)
    messages: int = field(init=False)
    """Place of the number of payloads that were looked at (inputs and outputs count one each)."""
    broken: int = field(init=False)
    """Place of the number of those that could not be read or did not fit the profile's schema."""
    scores: slice = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        ends = list(accumulate((len(column.counts) for column in self.columns), initial=0))
        moments = list(accumulate((2 * isinstance(column, NumericColumn) for column in self.columns), initial=ends[-1]))
        places = tuple(
            Place(slice(ends[i], ends[i + 1]), slice(moments[i], moments[i + 1])) for i in range(len(self.columns))
        )
        hours = slice(moments[-1], moments[-1] + HOURS)
        for name, value in {
            "places": places,
            "hours": hours,
            "messages": hours.stop,
            "broken": hours.stop + 1,
            "scores": slice(hours.stop + 2, hours.stop + 2 + SCORE_GRID * self.has_scores),
            "size": hours.stop + 2 + SCORE_GRID * self.has_scores,
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, profile: Profile) -> Layout:
        """Lay out the panes of a profile."""
        return cls(profile.columns, has_scores=profile.calibration is not None)

    def place(self, name: str) -> Place:
        """Return the place of the column of this name; `KeyError` if there is none."""
        for column, place in zip(self.columns, self.places, strict=True):
            if column.name == name:
                return place
        raise KeyError(name)
