"""The reference profile of the demo's first version: the flights that it was fitted on, scored by fits that had not."""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict

from demo.flights import FEATURES
from demo.train import INPUT, Recipe, Trained
from router.control.profiling import Reference
from router.drift.building import Kind
from router.performance.baseline import Metric, Task

_KINDS: Final[dict[str, Kind]] = dict.fromkeys(("day_of_week", "carrier", "origin", "destination"), "categorical")


def reference(recipe: Recipe, trained: Trained) -> Reference:
    """Score each week by a model that was fitted on other weeks: on its own rows a model looks better than it is.

    Weather changes from week to week, so the profile forgives what columns wander between the weeks.
    """
    flights = trained.data
    week = flights.date.astype("datetime64[D]").astype(int) // 7
    unseen = cross_val_predict(
        clone(recipe.estimator),
        flights.features,
        flights.late,
        groups=week,
        cv=GroupKFold(3),
        method="predict_proba",
    )
    return Reference(
        inputs={INPUT: flights.features},
        outputs={"probabilities": unseen.astype(np.float32)},
        labels=flights.late.astype(np.float64),
        names={INPUT: FEATURES},
        kinds=_KINDS,
        task=Task.BINARY,
        score="probabilities[1]",
        metrics=(Metric.AUC, Metric.ACCURACY, Metric.BRIER),
        stretches=len(np.unique(week)),
    )
