"""Ray Serve applications of model versions and shared hosts: deployed, deleted, looked at.

All calls block; make them in threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import ApplicationStatus

from serving.deployment.autoscaling import autoscaling_config, occupancy_config
from serving.deployment.discovery import EndpointRouter
from serving.deployment.failures import is_delayed, is_final, read_reason
from serving.deployment.hosting.host_replica import HostReplica
from serving.deployment.replica import ModelReplica
from serving.deployment.spec import (
    DEPLOYMENT,
    HostSpec,
    VersionSpec,
    app_name,
    host_name,
    parse_app_name,
    parse_host_name,
)
from serving.deployment.start_backoff import FailedStarts
from serving.deployment.status import AppPhase, AppStatus

#: Above anything that arrives this way: the data plane has its own sockets and its own limits.
_MAX_ONGOING: Final = 100_000
_HEALTH_PERIOD_S: Final = 1.0
_HEALTH_TIMEOUT_S: Final = 10.0
#: Describing pickles the router class by value, for which Ray switches a process-wide registry on and off again; and it
#: describes whatever it reads back, too.
_describing: Final = threading.RLock()


def version_target(spec: VersionSpec) -> serve.RunTarget:
    """Describe the application of a version.

    The class is wrapped here and not where it is defined: so it travels by name, and not with a copy of its module.
    """
    count: dict[str, Any] = {"num_replicas": spec.replicas}
    if spec.scale is not None:
        count = {"autoscaling_config": autoscaling_config(spec, spec.scale)}
    deployment = _configured(
        serve.deployment(ModelReplica),
        count,
        # No CPU is booked: otherwise a small machine would refuse a third process that it has room for.
        actor_options={"num_cpus": 0, "num_gpus": spec.gpu_share},
        drain_timeout_s=spec.drain_timeout_s,
    )
    return serve.RunTarget(deployment.bind(spec), name=app_name(spec.model, spec.version), route_prefix=None)


def host_target(spec: HostSpec) -> serve.RunTarget:
    """Describe the application of a shared host: one process, or none while all its guests are cold."""
    deployment = _configured(
        serve.deployment(HostReplica),
        {"autoscaling_config": occupancy_config()},
        actor_options={"num_cpus": 0},
        drain_timeout_s=spec.drain_timeout_s,
    )
    return serve.RunTarget(deployment.bind(spec), name=host_name(spec.number), route_prefix=None)


def _configured(
    deployment: Any, count: dict[str, Any], *, actor_options: dict[str, float], drain_timeout_s: float
) -> Any:
    return deployment.options(
        name=DEPLOYMENT,
        **count,
        ray_actor_options=actor_options,
        max_ongoing_requests=_MAX_ONGOING,
        health_check_period_s=_HEALTH_PERIOD_S,
        health_check_timeout_s=_HEALTH_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=drain_timeout_s + 2.0,
        # A version that does not load fails at once, with its reason; whoever deployed it decides on another attempt.
        max_constructor_retry_count=1,
        request_router_config=RequestRouterConfig(request_router_class=EndpointRouter),
    )


def deploy(specs: Sequence[VersionSpec]) -> None:
    """Start applications, or replace failed ones, without waiting for their replicas."""
    for spec in specs:
        FailedStarts(spec.run_dir, spec.model, spec.version).forget()
    with _describing:
        run([version_target(spec) for spec in specs])


def deploy_host(spec: HostSpec) -> None:
    """Start a shared host without waiting for its process."""
    with _describing:
        run([host_target(spec)])


def run(targets: Sequence[serve.RunTarget]) -> None:
    """Hand applications to Ray Serve without waiting for their replicas."""
    with _describing:
        serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def delete(versions: Iterable[tuple[str, int]]) -> None:
    """Have applications drained and removed, without waiting for it."""
    for model, version in versions:
        serve.delete(app_name(model, version), _blocking=False)


def delete_host(number: int) -> None:
    """Have a shared host drained and removed, without waiting for it."""
    serve.delete(host_name(number), _blocking=False)


class Applications(NamedTuple):
    """What there is."""

    versions: dict[tuple[str, int], AppStatus]
    """Those with an application of their own."""
    hosts: dict[int, AppStatus]


def statuses() -> Applications:
    """Look at the applications of all versions and hosts."""
    with _describing:
        applications = serve.status().applications
    found = Applications({}, {})
    for name, app in applications.items():
        if (key := parse_app_name(name)) is not None:
            found.versions[key] = _status(app)
        elif (number := parse_host_name(name)) is not None:
            found.hosts[number] = _status(app)
    return found


def _status(app: Any) -> AppStatus:
    deployment = app.deployments.get(DEPLOYMENT)
    if app.status is ApplicationStatus.RUNNING:
        return AppStatus(AppPhase.READY)
    if app.status is ApplicationStatus.DELETING:
        return AppStatus(AppPhase.DELETING)
    if app.status is ApplicationStatus.DEPLOY_FAILED:
        message = deployment.message if deployment and deployment.message else app.message
        return AppStatus(AppPhase.FAILED, read_reason(message), is_final(message), is_delayed(message))
    if app.status is ApplicationStatus.UNHEALTHY:
        running = deployment.replica_states.get("RUNNING", 0) if deployment else 0
        if running:
            return AppStatus(AppPhase.READY)
        return AppStatus(AppPhase.LOADING, "its replicas have died and are being replaced")
    return AppStatus(AppPhase.LOADING)
