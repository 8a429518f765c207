"""Sample-ratio mismatch: do the arms get the shares of traffic that the policy gives them? Pure.

When they do not, requests are lost or moved on the way, seldom at random, and no other comparison means anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma, log
from typing import Final

from router.analysis.verdict import Finding, Verdict

#: Weight of the mixture in observations: the larger, the smaller the mismatch that is found soonest.
_STRENGTH: Final = 100.0


def sample_ratio(observed: Sequence[int], expected: Sequence[float], alpha: float) -> Finding:
    """Compare requests (or keys) per arm with the shares that they should have (any positive scale).

    The Dirichlet-multinomial mixture martingale of Lindon, Malek: "Anytime-valid inference for multinomial count data",
    NeurIPS 2022. Exact at every n: FAIL with probability at most `alpha` ever if each unit is assigned independently by
    these shares. With a sticky policy the unit is the key, so count keys, or requests where keys are many and even.
    Never PASS: that there is no mismatch cannot be shown, only not be contradicted.


    Raises:
        ValueError: not one positive expected share per arm.
    """
    if len(observed) != len(expected) or min(expected, default=0) <= 0 or min(observed) < 0:
        raise ValueError(f"{list(observed)} requests for the shares {list(expected)}")
    whole = sum(expected)
    shares = [share / whole for share in expected]
    n = sum(observed)
    if n == 0:
        return Finding(Verdict.INCONCLUSIVE, 0.0, 0.0, 0.0, 0, "not yet: no request")
    gaps = [count / n - share for count, share in zip(observed, shares, strict=True)]
    worst = max(range(len(gaps)), key=lambda arm: abs(gaps[arm]))
    gap = abs(gaps[worst])
    mismatch = log_evidence(observed, shares) >= -log(alpha)
    verdict = Verdict.FAIL if mismatch else Verdict.INCONCLUSIVE
    return Finding(verdict, gap, gap, gap, n, _words(observed[worst] / n, shares[worst], n, mismatch=mismatch))


def log_evidence(observed: Sequence[int], shares: Sequence[float]) -> float:
    """Log of the e-value against `shares` (they sum to 1)."""
    evidence = lgamma(_STRENGTH) - lgamma(_STRENGTH + sum(observed))
    for count, share in zip(observed, shares, strict=True):
        prior = _STRENGTH * share
        evidence += lgamma(prior + count) - lgamma(prior) - count * log(share)
    return evidence


def _words(seen: float, wanted: float, n: int, *, mismatch: bool) -> str:
    shares = f"an arm has {100 * seen:.2f} % of {n} requests, its share is {100 * wanted:.2f} %"
    return f"sample ratio mismatch: {shares}" if mismatch else f"no sample ratio mismatch: {shares}"
