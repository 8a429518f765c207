"""Trains the demo's delay classifiers and turns them into ONNX.

Gradient boosting by scikit-learn's older `GradientBoostingClassifier`: skl2onnx cannot convert the histogram one with
current releases of onnx, and at this size it trains in seconds too.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import onnx
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from demo.flights import FEATURES, LATE_MINUTES, Flights

INPUT: Final = "features"


class Recipe(NamedTuple):
    """How one version is made."""

    about: str
    first_month: int
    last_month: int
    estimator: BaseEstimator


class Trained(NamedTuple):
    """A trained version: `features` FP32 [N, 12] -> `label` INT64 [N], `probabilities` FP32 [N, 2]."""

    model: onnx.ModelProto
    data: Flights
    """What it was fitted on."""
    params: dict[str, Any]
    metrics: dict[str, float]


def recipes() -> tuple[Recipe, ...]:
    """List the versions in order: the first is version 1."""
    boosting: dict[str, Any] = {"n_estimators": 60, "max_depth": 4, "subsample": 0.3, "random_state": 0}
    eager = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    return (
        Recipe("boosted trees, January and February", 1, 2, GradientBoostingClassifier(**boosting)),
        Recipe("boosted trees, January to April", 1, 4, GradientBoostingClassifier(**boosting)),
        Recipe("logistic regression that warns often, January to April", 1, 4, eager),
    )


def train(flights: Flights, recipe: Recipe) -> Trained:
    """Fit a recipe's months and measure the area under the ROC curve there and in the month that follows."""
    known = flights.labelled()
    seen = known.months(recipe.first_month, recipe.last_month)
    next_month = known.months(recipe.last_month + 1, recipe.last_month + 1)
    estimator = recipe.estimator.fit(seen.features, seen.late)
    return Trained(
        model=skl2onnx.to_onnx(
            estimator,
            initial_types=[(INPUT, FloatTensorType([None, len(FEATURES)]))],
            options={"zipmap": False},
        ),
        data=seen,
        params={
            "about": recipe.about,
            "months": f"2013-{recipe.first_month:02}..2013-{recipe.last_month:02}",
            "rows": len(seen.late),
            "late_after_minutes": LATE_MINUTES,
        },
        metrics={"train_auc": _auc(estimator, seen), "next_month_auc": _auc(estimator, next_month)},
    )


def _auc(estimator: Any, flights: Flights) -> float:
    return float(roc_auc_score(flights.late, estimator.predict_proba(flights.features)[:, 1]))
