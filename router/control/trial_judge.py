"""Judges a rollout's checks on predictions and labels by what the monitor has counted for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from router.analysis.verdict import Finding
from router.monitor.trial import TrialState
from router.monitor.trial_verdict import judge_metric, judge_predictions
from router.performance.baseline import Metric
from router.policy.plan import AnyCheck, LabelMetric, Prediction
from router.rollout.checks import judgement_of
from router.rollout.evidence import Judgement
from router.rollout.rollout import Rollout


class TrialSource(Protocol):
    """Where the monitor's counts lie."""

    async def trial(self, model: str) -> TrialState | None:
        """Read what was counted for a model's last rollout; may raise `StoreUnavailable`."""


class TrialJudge:
    """Fits `RolloutMonitor`. Stateless: whoever asks next gets the same answer."""

    def __init__(self, trials: TrialSource) -> None:
        self._trials = trials

    async def judgements(self, rollout: Rollout) -> Mapping[AnyCheck, Judgement]:
        """Judge; empty while nothing has been counted for this very rollout."""
        checks = [check for check in rollout.plan.checks if isinstance(check, Prediction | LabelMetric)]
        if not checks:
            return {}
        state = await self._trials.trial(rollout.model)
        if state is None or state.trial.id != rollout.id:
            return {}
        return {check: judgement_of(check.kind, _judge(check, state), dry_run=check.dry_run) for check in checks}


def _judge(check: Prediction | LabelMetric, state: TrialState) -> Finding:
    if isinstance(check, Prediction):
        return judge_predictions(state, max_shift=check.max_distance, alpha=check.alpha)
    return judge_metric(state, Metric(check.metric), max_drop=check.max_drop, alpha=check.alpha)
