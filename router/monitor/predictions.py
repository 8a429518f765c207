"""What is kept of answers until their labels come: the scores, picked out of a whole batch at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from router.drift.binning import as_numbers, category_text
from router.drift.profile import Column, Profile
from router.drift.rows import Stacked, Table
from router.monitor.labels import Prediction
from router.monitor.state import Arm, Sample
from serving.protocol.arrays import Array

Floats = npt.NDArray[np.float64]
#: The number of a class that the profile has no name for: no label is equal to it.
NO_CLASS = -1.0


def predictions(profile: Profile, arm: Arm, samples: Sequence[Sample], outputs: Stacked) -> list[Prediction | None]:
    """Pick the scores out of answers; None for one that has none that could be compared with a label."""
    found: list[Prediction | None] = [None] * len(samples)
    if not profile.score:
        return found
    column = profile.column(profile.score)
    sure = [profile.column(name) for name in profile.probabilities]
    for table in outputs.tables:
        said = _values(profile, column, table)
        if said is None or not len(said):
            continue
        probabilities = _probabilities(profile, sure, table)
        starts = np.flatnonzero(np.diff(table.owner, prepend=-1)).tolist()
        for start, end in pairwise([*starts, len(said)]):
            owner = int(table.owner[start])
            scores = said[start:end]
            if np.isfinite(scores).all():
                rows = tuple(probabilities[start:end].ravel().tolist()) if probabilities is not None else ()
                found[owner] = Prediction(arm.version, arm.name, samples[owner].at, tuple(scores.tolist()), rows)
    return found


def _values(profile: Profile, column: Column, table: Table) -> Floats | None:
    array = table.tensors.get(column.tensor)
    if array is None or column.index >= array.shape[1]:
        return None
    values: Array = array[:, column.index]
    if values.dtype != object:
        return as_numbers(values)
    numbers = {name: float(i) for i, name in enumerate(profile.classes)}
    return np.array([numbers.get(category_text(value), NO_CLASS) for value in values.tolist()])


def _probabilities(profile: Profile, columns: Sequence[Column], table: Table) -> Floats | None:
    values = [_values(profile, column, table) for column in columns]
    known = [each for each in values if each is not None]
    return np.column_stack(known) if known and len(known) == len(values) else None
