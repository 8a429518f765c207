"""How far apart two binned distributions are: population stability index, Jensen-Shannon, Wasserstein. Pure.

Arguments are shares of the same bins, each summing to 1, as float vectors. These are effect sizes: they say how much,
not whether it could be chance; `significance` says that.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: The share that an empty bin is taken to have where a logarithm needs one, as is the custom for the index.
LEAST_SHARE: Final = 1e-4


def population_stability_index(current: Floats, reference: Floats) -> float:
    """Return PSI = sum of (q - p) ln(q / p): 0 when alike, unbounded; the symmetrised Kullback-Leibler divergence."""
    q, p = np.maximum(current, LEAST_SHARE), np.maximum(reference, LEAST_SHARE)
    return float(np.sum((q - p) * np.log(q / p)))


def without_noise(index: float, bins: int, rows: float, reference_rows: float) -> float:
    """Subtract from a PSI what chance alone contributes on average, (bins - 1) (1/n + 1/N); at least 0.

    Under no drift PSI is distributed as (1/n + 1/N) times chi-square with bins - 1 degrees (Yurdakul, 2018).
    """
    return max(0.0, index - (bins - 1) * (1 / rows + 1 / reference_rows))


def jensen_shannon(current: Floats, reference: Floats) -> float:
    """Return the Jensen-Shannon distance: the root of the divergence to base 2, from 0 to 1 (Lin, 1991)."""
    middle = (current + reference) / 2
    divergence = (_relative_entropy(current, middle) + _relative_entropy(reference, middle)) / 2
    return float(np.sqrt(max(0.0, divergence)))


def wasserstein(current: Floats, reference: Floats, edges: Floats) -> float:
    """Return the area between the two distribution functions, in the unit of the edges.

    Args:
        current: shares of the bins below the first edge, between the edges, and above the last: len(edges) + 1.
        reference: the same for the reference.
        edges: ascending.

    The functions are known at the edges and taken as straight between; what lies beyond the outer edges counts as
    lying on them. So the true distance is at least about this.
    """
    gap = np.abs(np.cumsum(current - reference)[:-1])
    return float(np.sum(np.diff(edges) * (gap[1:] + gap[:-1]) / 2))


def _relative_entropy(p: Floats, q: Floats) -> float:
    seen = p > 0
    return float(np.sum(p[seen] * np.log2(p[seen] / q[seen])))
