"""Which features tell the window from the reference: a classifier that tries, and what it looked at. Pure.

If a classifier can tell live rows from reference rows, none of which it was fitted on, they are distributed otherwise;
what it uses to do so explains the drift (Lopez-Paz, Oquab: "Revisiting classifier two-sample tests", 2017). It is asked
for on demand, as an explanation of an alarm, since it needs rows and not counts.

The classifier is Fisher's discriminant with ridge over the standardised features, their squares and, for up to
`MAX_PAIRED` features, their products, so that it also sees spreads and relations change.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from router.drift.multivariate import standardised
from router.performance.ranking import area_under_roc

Floats = npt.NDArray[np.float64]

MAX_PAIRED: Final = 40
FOLDS: Final = 5
_RIDGE: Final = 0.1


class Explanation(NamedTuple):
    """How well live rows can be told from the reference, and by what."""

    auc: float
    """Out of fold: 0.5 cannot be told apart, 1 always."""
    z: float
    """(auc - 0.5) over its deviation when nothing has moved, sqrt((n + m + 1) / (12 n m))."""
    p_value: float
    """One-sided, normal."""
    importances: tuple[float, ...]
    """One per feature: its share of the discriminant's weight; sums to 1."""


def explain(reference: Floats, current: Floats) -> Explanation:
    """Try to tell `current` [rows, features] from `reference` [rows, features].

    Rows go to folds in turn, so the answer is the same for the same rows. At least `FOLDS` rows of each are needed.
    """
    n, m = len(current), len(reference)
    if min(n, m) < FOLDS:
        raise ValueError(f"{n} and {m} rows: the classifier needs {FOLDS} of each at least")
    mean, deviation = np.nanmean(reference, axis=0), np.nanstd(reference, axis=0)
    z = standardised(np.concatenate([reference, current]), mean, deviation)
    terms, parents = _terms(z)
    live = np.arange(m + n) >= m
    fold = np.concatenate([np.arange(m), np.arange(n)]) % FOLDS
    scores = np.empty(m + n)
    for number in range(FOLDS):
        held = fold == number
        weights = _discriminant(terms[~held], live[~held])
        # Folds are fitted apart: their scores share no zero and no unit, but one straight line mends both.
        raw = terms[held] @ weights
        scores[held] = (raw - raw.mean()) / (raw.std() or 1.0)
    auc, _ = area_under_roc(scores, live)
    z_score = (auc - 0.5) / sqrt((n + m + 1) / (12 * n * m))
    power = (_discriminant(terms, live) * terms.std(axis=0)) ** 2
    shares = np.zeros(z.shape[1])
    for feature in parents.T:
        np.add.at(shares, feature, power / 2)
    return Explanation(auc, z_score, erfc(z_score / sqrt(2)) / 2, tuple((shares / (shares.sum() or 1.0)).tolist()))


def _terms(z: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the terms [rows, terms] and the two features [terms, 2] that each is made of."""
    d = z.shape[1]
    own = np.repeat(np.arange(d)[:, None], 2, axis=1)
    blocks, parents = [z, z * z - 1], [own, own]
    if d <= MAX_PAIRED:
        first, second = np.triu_indices(d, 1)
        blocks.append(z[:, first] * z[:, second])
        parents.append(np.column_stack([first, second]))
    return np.concatenate(blocks, axis=1), np.concatenate(parents)


def _discriminant(terms: Floats, live: npt.NDArray[np.bool_]) -> Floats:
    gap = terms[live].mean(axis=0) - terms[~live].mean(axis=0)
    within = np.concatenate([terms[live] - terms[live].mean(axis=0), terms[~live] - terms[~live].mean(axis=0)])
    covariance = within.T @ within / len(within)
    ridge = _RIDGE * (float(np.trace(covariance)) / len(covariance) or 1.0)
    solved: Floats = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), gap)
    return solved
