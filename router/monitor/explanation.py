"""What moved, when an alarm rises: which features tell the window's rows from those of quiet windows. Pure.

A profile holds no row of data, so the rows to compare with are kept while nothing happens: an excerpt of all windows of
the version, of any arm, in which no column drifted. Where drift was there from the first window on, there are none, and
no explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from router.drift.domain_classifier import explain
from router.drift.excerpt import MAX_FEATURES, matrix
from router.drift.profile import NumericColumn, Profile

#: Rows of both sides below which nothing is said.
LEAST_ROWS: Final = 50
_SHOWN: Final = 5
#: Standard deviations above chance below which the rows count as not told apart.
_LEAST_Z: Final = 3.0


class Explanation(msgspec.Struct, frozen=True):
    """What tells a window's rows from quiet ones."""

    auc: float
    """Of the classifier that tries, on rows that it was not fitted on: 0.5 cannot tell them apart, 1 always can."""
    p_value: float
    features: dict[str, float]
    """Those it goes by, the most telling first, with their share of its weight; empty when it cannot tell."""
    rows: int
    quiet_rows: int


def explained(profile: Profile, quiet: Mapping[int, bytes], current: Mapping[int, bytes]) -> Explanation | None:
    """Explain an alarm; None when there are too few rows, or features, to say anything."""
    columns = [each for each in profile.columns if isinstance(each, NumericColumn) and each.role == "input"]
    names = [column.name for column in columns[:MAX_FEATURES]]
    if not names or min(len(quiet), len(current)) < LEAST_ROWS:
        return None
    reference, rows = matrix(quiet), matrix(current)
    told = np.flatnonzero(~np.isnan(reference).all(axis=0) & ~np.isinf(reference).any(axis=0)).tolist()
    if not told:
        return None
    found = explain(reference[:, told], rows[:, told])
    shares = zip([names[i] for i in told], found.importances, strict=True)
    telling = sorted(shares, key=lambda share: -share[1])[:_SHOWN] if found.z >= _LEAST_Z else []
    return Explanation(found.auc, found.p_value, dict(telling), len(rows), len(reference))
