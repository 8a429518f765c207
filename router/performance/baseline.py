"""The metric that a model is held to, and what a drop from it is. Pure.

    drop = (baseline - current) / baseline      where more is better (accuracy, F1, AUC)
    drop = (current - baseline) / baseline      where less is better (log loss, Brier, MAE, RMSE, MAPE)

so a drop is relative, positive when things got worse, and 0.05 means "5 % worse than the baseline".

Alarms cannot watch every metric directly: their guarantee is for means of bounded losses. `loss` is the mean of that
loss on the reference, see `loss` for which it is; the two methods translate between drops of the metric and means of
the loss.
"""

from __future__ import annotations

from enum import StrEnum
from math import sqrt
from typing import Annotated, Final

import msgspec

Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
#: Deviations of its own error by which a baseline is excused: one side of a 95 % interval.
_EXCUSE: Final = 1.645


class Task(StrEnum):
    """What a model predicts; decides which metrics are meant for it."""

    BINARY = "binary"
    """The score is the probability of class 1."""
    MULTICLASS = "multiclass"
    """The prediction is a class number."""
    REGRESSION = "regression"


class Metric(StrEnum):
    """A way to sum up predictions beside their labels."""

    ACCURACY = "accuracy"
    F1 = "f1"
    AUC = "auc"
    LOG_LOSS = "log_loss"
    BRIER = "brier"
    MAE = "mae"
    RMSE = "rmse"
    MAPE = "mape"

    @property
    def more_is_better(self) -> bool:
        """Whether a higher value is a better one."""
        return self in {Metric.ACCURACY, Metric.F1, Metric.AUC}

    @property
    def has_bounded_loss(self) -> bool:
        """Whether an alarm can watch it; F1 is no mean of anything that one row has."""
        return self is not Metric.F1

    @property
    def has_unit_loss(self) -> bool:
        """Whether that loss lies in [0, 1] by itself, and needs no scale."""
        return self in {Metric.ACCURACY, Metric.AUC, Metric.BRIER}


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric as measured when the model was accepted, best on rows that it was not fitted on."""

    metric: Metric
    value: Finite
    low: Finite
    """Lower end of the 95 % interval: a baseline of few rows is itself uncertain."""
    high: Finite
    n: Annotated[int, msgspec.Meta(ge=1)]
    """Labelled rows behind it."""
    loss: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Mean of the bounded loss."""
    loss_error: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Its standard error."""
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """What a loss of 1 is in the unit of the row's loss; greater ones are cut there."""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"baseline {self.metric}: {self.value} lies outside [{self.low}, {self.high}]")

    def drop(self, current: float) -> float:
        """Return the relative drop of a current value; 0 when the baseline is 0 and nothing relative can be said."""
        if self.value == 0:
            return 0.0
        worse = self.value - current if self.metric.more_is_better else current - self.value
        return worse / abs(self.value)

    def drop_of_loss(self, mean: float) -> float:
        """Return the drop that a mean of the bounded loss stands for."""
        if self.metric.more_is_better:
            return (mean - self.loss) / (1 - self.loss) if self.loss < 1 else 0.0
        if self.loss == 0:
            return 0.0
        return (sqrt(mean / self.loss) if self.metric is Metric.RMSE else mean / self.loss) - 1

    def loss_after(self, drop: float) -> float:
        """Return the mean loss at this drop; the inverse of `drop_of_loss`, cut at 1."""
        return self._after(self.loss, drop)

    def excused_loss_after(self, drop: float) -> float:
        """Return the same from a baseline as bad as its own uncertainty allows: nobody is alarmed by that alone."""
        return self._after(min(1.0, self.loss + _EXCUSE * self.loss_error), drop)

    def _after(self, loss: float, drop: float) -> float:
        if self.metric.more_is_better:
            return min(1.0, loss + drop * (1 - loss))
        return min(1.0, loss * ((1 + drop) ** 2 if self.metric is Metric.RMSE else 1 + drop))
