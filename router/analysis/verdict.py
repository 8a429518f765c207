"""What a comparison says: a verdict, the effect with its interval, and a sentence for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The three answers of a check; only the first may promote."""

    PASS = "pass"  # noqa: S105 - a word, no password
    """The effect is inside its limit, whatever else may come."""
    FAIL = "fail"
    """The effect is beyond its limit."""
    INCONCLUSIVE = "inconclusive"
    """The interval still holds both: hold, collect more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison as it stands after `n` observations.

    The interval holds the true effect at *all* times together with probability 1 - alpha, so a finding may be asked for
    after every request, and the first FAIL or PASS be acted upon.
    """

    verdict: Verdict
    estimate: float
    """The effect as observed, in the unit of the comparison (rates and shares from 0 to 1, ratios, distances)."""
    low: float
    high: float
    n: int
    """Observations behind it, all arms together."""
    words: str
    """E.g. `not yet: ...` or `canary worse by 1.2 ± 0.4 points`."""


def judge(low: float, high: float, limit: float) -> Verdict:
    """Compare an interval of an effect, of which less is better, with the largest effect that is accepted."""
    if low > limit:
        return Verdict.FAIL
    return Verdict.PASS if high <= limit else Verdict.INCONCLUSIVE
