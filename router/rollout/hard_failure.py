"""Does a version fail so hard that it must go at once? Judged on counters, every look. Pure.

A version that has run well for hours must be caught as soon as one that never ran, so the evidence is a CUSUM (Page,
"Continuous inspection schemes", Biometrika 41 (1954)) of log likelihood ratios, which forgets good times:

    W <- max(0, W) + failures log(p1 / p0) + successes log((1 - p1) / (1 - p0))

p0 is what is tolerated: the reference's failure rate with room above it. One sum runs for each of a few rates p1 above
p0, so that total failure is caught within three requests and one in five within about twenty. An alarm is any sum at
`ALARM` or more: for a rate of p0 itself, requests between false alarms of a sum number e^ALARM or more on average
(Lorden, "Procedures for reacting to a change in distribution", Annals of Mathematical Statistics 42 (1971)); for rates
below p0 far more. Smaller regressions are for the checks of the plan, which have time.
"""

from __future__ import annotations

from math import log
from typing import Final

import msgspec

from router.analysis.counts import Counts

ALARM: Final = 9.0
#: Room above the reference's failure rate: a part of it, and one percentage point.
_ROOM_RATIO: Final = 1.5
_ROOM_RATE: Final = 0.01
_MOST_TOLERATED: Final = 0.5
#: Alternatives, as parts of the way from what is tolerated to total failure.
_WAYS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)


class Suspicion(msgspec.Struct, frozen=True):
    """What has gathered against a version; starts with nothing."""

    sums: tuple[float, ...] = (0.0,) * len(_WAYS)
    failures: int = 0
    """Seen since a sum was last at 0."""
    requests: int = 0

    @property
    def is_alarm(self) -> bool:
        """The version must go."""
        return max(self.sums) >= ALARM

    @property
    def words(self) -> str:
        """What to tell people."""
        return f"fails hard: {self.failures} of its last {self.requests} requests failed or were not numbers"


def watch(suspicion: Suspicion, seen: Counts, reference: Counts) -> Suspicion:
    """Add what was seen since the last look.

    Args:
        suspicion: of before.
        seen: the version's requests since the last look, and its failures among them.
        reference: the same of whom it replaces, over a longer time.
    """
    if seen.total == 0:
        return suspicion
    tolerated = min(_MOST_TOLERATED, reference.rate * _ROOM_RATIO + _ROOM_RATE)
    successes = seen.total - seen.events
    sums = []
    for before, way in zip(suspicion.sums, _WAYS, strict=True):
        alternative = tolerated + way * (1 - tolerated)
        gain = seen.events * log(alternative / tolerated) + successes * log((1 - alternative) / (1 - tolerated))
        sums.append(max(0.0, max(0.0, before) + gain))
    if not any(sums):
        return Suspicion()
    return Suspicion(tuple(sums), suspicion.failures + seen.events, suspicion.requests + seen.total)
