"""Streams whose drift is known: 30 features and a score, changed in one way at one moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEATURES: Final = 30
CATEGORICAL: Final = 29
"""Index of the one categorical feature."""
_SHARES: Final = np.array([0.30, 0.20, 0.15, 0.12, 0.10, 0.06, 0.04, 0.03])
_LEVEL: Final = -1.4


class Rows(NamedTuple):
    """Rows of one stretch."""

    features: Floats
    """[rows, 30]: 29 normal ones, the first two with correlation 0.8; eight categories."""
    score: Floats
    """[rows], probability of class 1."""
    label: Floats
    """[rows], 0 or 1."""


def clean(rng: np.random.Generator, rows: int, *, level: float = _LEVEL) -> Rows:
    """Draw rows of the reference; `level` moves the share of positives."""
    features = rng.normal(size=(rows, FEATURES))
    features[:, 1] = 0.8 * features[:, 0] + 0.6 * features[:, 1]
    features[:, CATEGORICAL] = rng.choice(len(_SHARES), size=rows, p=_SHARES)
    score = 1 / (1 + np.exp(-(level + features[:, 0] + features[:, 2])))
    return Rows(features, score, (rng.random(rows) < score).astype(np.float64))


def mean_shift(rng: np.random.Generator, rows: int, deviations: float = 0.25) -> Rows:
    """Move the mean of one feature that the model hardly uses."""
    drawn = clean(rng, rows)
    drawn.features[:, 5] += deviations
    return drawn


def vanished_category(rng: np.random.Generator, rows: int) -> Rows:
    """Let one category of 12 % turn into the most frequent one."""
    drawn = clean(rng, rows)
    column = drawn.features[:, CATEGORICAL]
    column[column == 3] = 0
    return drawn


def flipped_correlation(rng: np.random.Generator, rows: int) -> Rows:
    """Turn the correlation of two features from 0.8 to -0.8; every feature alone stays as it was."""
    drawn = clean(rng, rows)
    drawn.features[:, 1] *= -1
    return drawn


def label_shift(rng: np.random.Generator, rows: int) -> Rows:
    """Let positives become twice as frequent, each class looking as it did: drawn anew from a larger sample."""
    drawn = clean(rng, 8 * rows)
    positive = np.flatnonzero(drawn.label == 1)
    negative = np.flatnonzero(drawn.label == 0)
    wanted = int(rows * min(0.9, 2 * drawn.label.mean()))
    chosen = rng.permutation(np.concatenate([positive[:wanted], negative[: rows - wanted]]))
    return Rows(drawn.features[chosen], drawn.score[chosen], drawn.label[chosen])


SHIFTS: Final[dict[str, Callable[[np.random.Generator, int], Rows]]] = {
    "mean of 1 of 30 features + 0.25 sd": mean_shift,
    "category of 12 % vanishes": vanished_category,
    "correlation 0.8 to -0.8, margins unchanged": flipped_correlation,
    "label shift: twice the positives": label_shift,
}
