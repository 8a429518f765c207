"""The scaling decision as a policy of Ray Serve's controller, which runs it every tenth of a second for each version.

Ray Serve adds delays and bounds and carries the decision out. The reason is left in a small file, from where the
control process shows it, and counted in a metrics file of the controller's own: the controller offers no other way out
for more than a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from serving.deployment.scaling import ReplicaLoad, ScalingLimits, decide_scaling
from serving.deployment.scaling_count import ScalingCount
from serving.deployment.scaling_record import ScalingRecord, record_path, write_record
from serving.deployment.spec import Scale, VersionSpec

_STATS = ("in_flight", "queued", "busy_fraction", "p95_ms")


class LoadPolicy:
    """Decides for one version; made in the controller, from JSON values, each time that the version is deployed."""

    def __init__(self, limits: dict[str, Any], reason_file: str, metrics_dir: str, model: str, version: int) -> None:
        self._limits = ScalingLimits(**limits)
        self._file = Path(reason_file)
        self._told: int | None = None
        self._count = ScalingCount(Path(metrics_dir), model, version)

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Decide; fits Ray Serve's policy functions."""
        metrics = context.aggregated_metrics or {}
        replicas = metrics.get(_STATS[0], {})
        loads = [ReplicaLoad(*(metrics.get(stat, {}).get(each, 0.0) for stat in _STATS)) for each in replicas]
        current = context.target_num_replicas
        self._count.see(current)
        decision = decide_scaling(loads, current, self._limits, context.total_num_requests)
        if decision.signal is not None:
            self._count.asked_by = decision.signal
            self._tell(decision.replicas, decision.reason)
        return decision.replicas, {}

    def _tell(self, replicas: int, reason: str) -> None:
        """Leave the reason where the control process looks; once for each decision, whatever Ray makes of the delay."""
        if replicas != self._told:
            self._told = replicas
            write_record(self._file, ScalingRecord(replicas, reason))


def autoscaling_config(spec: VersionSpec, scale: Scale) -> AutoscalingConfig:
    """Describe to Ray Serve how a version scales."""
    limits = {
        "min_replicas": scale.min_replicas,
        "max_replicas": scale.max_replicas,
        "target_in_flight": scale.target_in_flight,
        "max_queued": scale.max_queued,
        "objective_ms": scale.objective_ms,
    }
    return AutoscalingConfig(
        min_replicas=scale.min_replicas,
        max_replicas=scale.max_replicas,
        initial_replicas=max(1, scale.min_replicas),
        metrics_interval_s=scale.interval_s,
        look_back_period_s=max(2 * scale.interval_s, 1.0),
        upscale_delay_s=scale.up_delay_s,
        downscale_delay_s=scale.down_delay_s,
        downscale_to_zero_delay_s=scale.to_zero_after_s,
        policy=AutoscalingPolicy(
            policy_function="serving.deployment.autoscaling:LoadPolicy",
            policy_kwargs={
                "limits": limits,
                "reason_file": str(record_path(spec.run_dir, spec.model, spec.version)),
                "metrics_dir": str(spec.metrics_dir),
                "model": spec.model,
                "version": spec.version,
            },
        ),
    )


#: How long a shared host stays although all its guests are cold: each of them has been idle for long already.
_EMPTY_HOST_S: Final = 5.0


def occupancy_config() -> AutoscalingConfig:
    """Describe to Ray Serve a shared host: there while anybody is loaded in it, or wants to be."""
    return AutoscalingConfig(
        min_replicas=0,
        max_replicas=1,
        initial_replicas=1,
        target_ongoing_requests=1,
        metrics_interval_s=0.5,
        look_back_period_s=1.0,
        upscale_delay_s=0.0,
        downscale_delay_s=_EMPTY_HOST_S,
        downscale_to_zero_delay_s=_EMPTY_HOST_S,
        policy=AutoscalingPolicy(policy_function="serving.deployment.autoscaling:wanted_hosts"),
    )


def wanted_hosts(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Want the one process while its guests are at home, and while somebody calls to wake it.

    One that starts says nothing yet, and is not ended for it.
    """
    occupied = (context.aggregated_metrics or {}).get("occupied", {})
    if not occupied:
        return max(context.target_num_replicas, int(context.total_num_requests > 0)), {}
    return int(any(occupied.values()) or context.total_num_requests > 0), {}
