"""The area under the ROC curve, with its standard error, by ranks. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def area_under_roc(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the probability that a positive outscores a negative, ties counting half, and its standard error.

    The error is DeLong's (DeLong, DeLong, Clarke-Pearson, 1988), by mid-ranks in O(n log n) (Sun, Xu, 2014). Both are
    NaN when a class is absent; the error is NaN when one has a single member.
    """
    ahead, behind = scores[positive], scores[~positive]
    m, n = len(ahead), len(behind)
    if not m or not n:
        return float("nan"), float("nan")
    together = mid_ranks(np.concatenate([ahead, behind]))
    by_positive = (together[:m] - mid_ranks(ahead)) / n
    by_negative = 1 - (together[m:] - mid_ranks(behind)) / m
    if min(m, n) < 2:
        return float(by_positive.mean()), float("nan")
    variance = by_positive.var(ddof=1) / m + by_negative.var(ddof=1) / n
    return float(by_positive.mean()), float(np.sqrt(variance))


def mid_ranks(values: Floats) -> Floats:
    """Return ranks from 1, ties sharing their mean."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
    return ranks
