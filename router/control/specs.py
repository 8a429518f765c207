"""From settings and a version's registry tags to what its replicas need to know. Pure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from router.layout import Layout
from router.settings import Settings
from serving.deployment.spec import Scale, VersionSpec
from serving.registry.artifact import VersionInfo
from serving.registry.options import ServingOptions, parse_options

SpecMaker = Callable[[VersionInfo], VersionSpec]


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
            allowed_hosts=settings.backend_allowed_hosts,
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
