"""Bounded losses: one number in [0, 1] per labelled row, whose mean is what an alarm watches. Pure.

| metric | loss | mean |
|---|---|---|
| accuracy | prediction wrong | 1 - accuracy |
| Brier | (p - y)² | Brier score |
| log loss, MAE, MAPE | the row's loss over `scale`, cut at 1 | metric over scale, giants cut |
| RMSE | squared error over `scale`, cut at 1 | RMSE² over scale, giants cut |
| AUC | share of (positive, negative) pairs of a block in the wrong order | 1 - AUC |

The AUC has no loss of a row: rows are gathered to blocks until a block has both classes. The mean of a block's wrongly
ordered pairs is 1 - AUC whatever the share of positives, so a changing base rate, which moves accuracy at equal skill,
does not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from router.performance.baseline import Metric, Task
from router.performance.ranking import area_under_roc

Floats = npt.NDArray[np.float64]

#: Rows of a block of pairs, or more until it has both classes.
BLOCK_ROWS: Final = 8
#: A block is given up at this size: a stream of one class has no order to judge.
MAX_BLOCK_ROWS: Final = 4096
#: Probabilities are kept this far from 0 and 1, or one certain mistake makes the log loss infinite.
LEAST_PROBABILITY: Final = 1e-6

Pair = tuple[float, float]
"""(score, label)"""


def row_losses(metric: Metric, task: Task, said: Floats, truth: Floats, sure: Floats | None = None) -> Floats:
    """Return each row's loss before it is scaled and cut; not for AUC and F1, which rows do not have.

    MAPE leaves out rows whose label is 0. The log loss of several classes is that of `sure`, see `Judged`.
    """
    losses: Floats
    match metric:
        case Metric.ACCURACY:
            decided = (said >= 0.5).astype(np.float64) if task is Task.BINARY else said
            losses = np.asarray(decided != truth, dtype=np.float64)
        case Metric.BRIER | Metric.RMSE:
            losses = np.square(said - truth)
        case Metric.MAE:
            losses = np.abs(said - truth)
        case Metric.MAPE:
            known = truth != 0
            losses = np.abs(said[known] / truth[known] - 1)
        case Metric.LOG_LOSS:
            of_truth = np.where(truth > 0.5, said, 1 - said) if sure is None else sure
            losses = -np.log(np.clip(of_truth, LEAST_PROBABILITY, 1.0))
        case _:
            raise ValueError(f"{metric} has no loss of a row")
    return losses


def bounded_losses(
    metric: Metric,
    task: Task,
    said: Floats,
    truth: Floats,
    *,
    sure: Floats | None = None,
    scale: float = 1.0,
    pending: Sequence[Pair] = (),
) -> tuple[Floats, tuple[Pair, ...]]:
    """Return the losses in [0, 1] that these labelled rows complete, in their order, and rows of an unfinished block.

    Args:
        metric: what the alarm watches.
        task: what the model predicts.
        said: [rows], scores, classes or values.
        truth: [rows], labels.
        sure: [rows], probability given to the true one of several classes.
        scale: of the baseline.
        pending: rows that the last call left over; only AUC has any.
    """
    if metric is not Metric.AUC:
        return np.minimum(row_losses(metric, task, said, truth, sure) / scale, 1.0), ()
    losses = []
    block = list(pending)
    for pair in zip(said.tolist(), truth.tolist(), strict=True):
        block.append(pair)
        if len(block) < BLOCK_ROWS:
            continue
        scores, labels = np.array(block).T
        area, _ = area_under_roc(scores, labels > 0.5)
        if not np.isnan(area):
            losses.append(1 - area)
        if not np.isnan(area) or len(block) >= MAX_BLOCK_ROWS:
            block.clear()
    return np.array(losses), tuple(block)
