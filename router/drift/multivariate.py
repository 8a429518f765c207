"""Drift that no single feature shows: rows that break the relations between features. Pure.

Principal components of the standardised reference give directions in which the features vary together; the last of
them, in which the reference hardly varies, are its *relations*. A row's error is its squared length in those
directions, each in units of its own spread: what is left of the row after reconstruction from the main components,
whitened (in process control: T² of the minor components; Jackson: "A User's Guide to Principal Components", 1991).
Unlike the plain reconstruction error, it is not drowned by unrelated features.

The error of each row is then binned like any feature, so panes of it merge exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Share of the variance that the kept components explain, as in NannyML's reconstruction error.
EXPLAINED: Final = 0.65
#: Standardised values are cut here: one absurd value is a question of quality, not of relations.
LARGEST_Z: Final = 8.0
#: Variance below which a direction counts as constant, so that rounding noise in it does not.
LEAST_VARIANCE: Final = 1e-3


def minor_directions(z: Floats, explained: float = EXPLAINED) -> Floats:
    """Fit the directions [features, dropped], each scaled to unit variance of the reference `z` [rows, features]."""
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    share = np.cumsum(values[::-1]) / values.sum()
    kept = min(len(values) - 1, int(np.searchsorted(share, explained)) + 1)
    dropped = len(values) - kept
    directions: Floats = vectors[:, :dropped] / np.sqrt(np.maximum(values[:dropped], LEAST_VARIANCE))
    return directions


def standardised(values: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return z-values cut at `LARGEST_Z`; what is missing counts as average, what does not vary as 0."""
    spread = np.where(deviation > 0, deviation, np.inf)
    z = (values - mean) / spread
    return np.where(np.isnan(z), 0.0, np.clip(z, -LARGEST_Z, LARGEST_Z))


def reconstruction_errors(z: Floats, directions: Floats) -> Floats:
    """Return each row's error, the mean square over the dropped directions: 1 on average over the reference.

    Element by element in a fixed order: a matrix product gives other last bits for other numbers of rows, and then
    four consumers would not count what one counts.
    """
    along = np.zeros((directions.shape[1], len(z)))
    for feature, weights in enumerate(directions):
        along += weights[:, None] * z[:, feature]
    total = np.zeros(len(z))
    for projection in along:
        total += projection * projection
    errors: Floats = total / max(1, directions.shape[1])
    return errors
