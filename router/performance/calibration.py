"""How probable the positive class is at a score: isotonic regression, as a short non-decreasing curve. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_KNOTS: Final = 128


def calibrate(scores: Floats, labels: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fit a non-decreasing curve to labels (0 or 1) by score; return its knots as scores and probabilities.

    Pool-adjacent-violators gives blocks of equal probability (Zadrozny, Elkan, 2002). A block becomes one knot at its
    mean score: straight lines between them are as monotone and generalise better than steps. Scores are first grouped
    to at most `MAX_KNOTS` quantiles.
    """
    order = np.argsort(scores, kind="stable")
    distinct = np.unique(scores)
    if len(distinct) <= MAX_KNOTS:
        groups = np.searchsorted(distinct, scores[order])
    else:
        limits = np.unique(scores[order][np.arange(1, MAX_KNOTS) * len(scores) // MAX_KNOTS])
        groups = np.searchsorted(limits, scores[order], side="right")
    size = np.bincount(groups).astype(np.float64)
    total = np.bincount(groups, weights=labels[order])
    place = np.bincount(groups, weights=scores[order])
    blocks: list[tuple[float, float, float]] = []
    for n, positives, score in zip(size.tolist(), total.tolist(), place.tolist(), strict=True):
        block = (n, positives, score)
        while blocks and blocks[-1][1] * block[0] >= block[1] * blocks[-1][0]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        if block[0]:
            blocks.append(block)
    return tuple(score / n for n, _, score in blocks), tuple(positives / n for n, positives, _ in blocks)


def calibrated(scores: Floats, knots: tuple[float, ...], probabilities: tuple[float, ...]) -> Floats:
    """Read the curve: straight between knots, level beyond them."""
    return np.interp(scores, knots, probabilities)
