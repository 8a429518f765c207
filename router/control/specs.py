"""From settings and a version's registry tags to what its replicas, or its shared host, need to know. Pure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from router.layout import Layout
from router.settings import Settings
from serving.backends.outgoing import Reach
from serving.deployment.hosting.placement import HostBounds
from serving.deployment.hosting.sharing import SharingRules
from serving.deployment.spec import HostSpec, Scale, VersionSpec
from serving.registry.artifact import VersionInfo
from serving.registry.options import ServingOptions, parse_options

SpecMaker = Callable[[VersionInfo], VersionSpec]
HostMaker = Callable[[int], HostSpec]


def spec_maker(settings: Settings, layout: Layout) -> SpecMaker:
    """Build the function that specifies versions on this node; it raises `ServingError(INVALID)` for a wrong tag."""

    def make(info: VersionInfo) -> VersionSpec:
        options = parse_options(info.tags)
        return VersionSpec(
            model=info.model,
            version=info.version,
            state_dir=layout.state_dir,
            registry_uri=settings.registry_uri,
            run_dir=layout.run_dir,
            metrics_dir=layout.metrics_dir,
            logs_dir=layout.logs_dir,
            log_level=settings.log_level,
            allowed_folders=tuple(map(Path, settings.registry_allowed_folders)),
            reach=reach_of(settings),
            cache_max_bytes=settings.cache_max_bytes,
            tags=dict(info.tags),
            replicas=max(1, options.min_replicas),
            routers=settings.routers,
            scale=_scale(settings, options),
            gpu_share=options.gpu_share,
            drain_timeout_s=settings.drain_timeout_s,
            metrics_interval_s=settings.metrics_interval_s,
        )

    return make


def host_maker(settings: Settings, layout: Layout) -> HostMaker:
    """Build the function that specifies shared hosts on this node, by number."""

    def make(number: int) -> HostSpec:
        return HostSpec(
            number=number,
            state_dir=layout.state_dir,
            run_dir=layout.run_dir,
            metrics_dir=layout.metrics_dir,
            logs_dir=layout.logs_dir,
            log_level=settings.log_level,
            cache_max_bytes=settings.cache_max_bytes,
            max_loaded=settings.host_max_loaded,
            cold_after_s=settings.host_cold_after_s,
            drain_timeout_s=settings.drain_timeout_s,
            metrics_interval_s=settings.metrics_interval_s,
        )

    return make


def host_bounds(settings: Settings) -> HostBounds:
    """Say what one shared host may hold."""
    return HostBounds(settings.host_max_versions, settings.host_max_bytes)


def sharing_rules(settings: Settings) -> SharingRules:
    """Say which versions share."""
    return SharingRules(settings.host_default, settings.host_auto_max_bytes)


def reach_of(settings: Settings) -> Reach:
    """Say how far backends may reach, by the operator's settings."""
    return Reach(settings.backend_allowed_hosts, settings.triton_push_folder)


def _scale(settings: Settings, options: ServingOptions) -> Scale | None:
    if options.min_replicas == options.max_replicas:
        return None
    return Scale(
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
        target_in_flight=options.target_in_flight,
        max_queued=options.max_queued,
        objective_ms=options.objective_ms,
        interval_s=settings.scale_interval_s,
        up_delay_s=settings.scale_up_delay_s,
        down_delay_s=settings.scale_down_delay_s,
        to_zero_after_s=settings.scale_to_zero_after_s,
    )
