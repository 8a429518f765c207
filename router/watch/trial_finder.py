"""Finds the rollouts whose arms the log tells of, so that the monitor can count for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from router.monitor.state import Arm
from router.monitor.trial import Trial
from router.performance.baseline import Metric
from router.policy.plan import LabelMetric, Prediction
from router.rollout.phase import EXPOSED
from router.rollout.rollout import Rollout
from router.rollout.split import CONTROL
from router.rollout_ports import RolloutStore

#: How long an answer of the store is believed.
LOOK_AGAIN_S: Final = 1.0


class TrialFinder:
    """Asks for a model's rollout when the log names a control arm, which only a rollout makes."""

    def __init__(self, rollouts: RolloutStore, clock: Callable[[], float]) -> None:
        self._rollouts = rollouts
        self._clock = clock
        self._looked_at: dict[str, float] = {}

    async def trials_of(self, arms: Iterable[Arm]) -> list[Trial]:
        """Return the trials that answers of arms may belong to and that were not looked up a moment ago.

        Raises:
            StoreUnavailable: rollouts cannot be read.
        """
        now = self._clock()
        models = {arm.model for arm in arms if arm.name == CONTROL}
        found: list[Trial] = []
        for model in sorted(models):
            if 0 <= now - self._looked_at.get(model, -LOOK_AGAIN_S) < LOOK_AGAIN_S:
                continue
            rollout = await self._rollouts.get(model)
            self._looked_at[model] = now
            trial = trial_of(rollout) if rollout is not None else None
            if trial is not None:
                found.append(trial)
        return found


def trial_of(rollout: Rollout) -> Trial | None:
    """Say what a rollout wants to know of predictions and labels; None when nothing, or when nothing any more."""
    checks = [check for check in rollout.plan.checks if isinstance(check, Prediction | LabelMetric)]
    if rollout.phase not in EXPOSED or not checks:
        return None
    return Trial(
        id=rollout.id,
        canary=Arm(rollout.model, rollout.version, rollout.roles.candidate),
        control=Arm(rollout.model, rollout.stable_version, CONTROL),
        since=rollout.created_at,
        metrics=tuple({Metric(check.metric): None for check in checks if isinstance(check, LabelMetric)}),
    )
