"""What a version gets of this node, decided before it is loaded: threads and GPU memory, or a refusal. Blocks.

On the CPU a replica is a process of its own, so loading is the measurement: the first time a version is admitted by the
size of its files, and from then on by what it was seen to take. On a GPU it must be known before: the arena's ceiling
keeps one replica from taking what others were promised. So the first replica tries the version in a child process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from serving.deployment.cores import node_cores, replicas_here, thread_share
from serving.deployment.spec import VersionSpec
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.registry.artifact import Artifact
from serving.registry.finding import refusal
from serving.registry.isolated_load import try_version
from serving.registry.measurements import Measured, Measurements
from serving.registry.memory_check import Need, Room, refuse_what_does_not_fit
from serving.registry.node_memory import gpu_room, node_room
from serving.registry.options import AUTO, ServingOptions

#: Ceiling of a GPU arena above what was measured: batches of other shapes than the example's fragment it a little.
HEADROOM: Final = 1.1
_MEND_NODE: Final = "unload other versions, lower shepherd.max_replicas, or add memory"
_MEND_GPU: Final = "raise shepherd.gpu_share, lower shepherd.max_batch, or unload other versions of that GPU"


def fit(artifact: Artifact, spec: VersionSpec) -> ServingOptions:
    """Settle a version's options for a replica on this node.

    Raises:
        ServingError: UNAVAILABLE, there is no room for it now: with the numbers, and what to do; INVALID, it failed
            when it was tried on the GPU.
    """
    options = artifact.options
    if options.threads == AUTO:
        own = spec.scale.max_replicas if spec.scale else spec.replicas
        share = thread_share(node_cores(), routers=spec.routers, replicas=replicas_here(spec.run_dir, own))
        options = msgspec.structs.replace(options, threads=share)
    measurements = Measurements(spec.state_dir / "cache" / "measured")
    known = measurements.of(artifact.dir.name, artifact.options)
    _admit(_need_of_node(artifact, known), spec)
    room = gpu_room() if artifact.onnx is not None and options.gpu_share and options.provider != "cpu" else None
    if room is None:
        return options
    return _with_ceiling(spec, options, known.gpu_bytes or _measure_gpu(artifact, spec, measurements), room)


def remember_memory(artifact: Artifact, spec: VersionSpec, memory_bytes: int) -> None:
    """Write down what a replica was seen to take, once it is warm."""
    measurements = Measurements(spec.state_dir / "cache" / "measured")
    measurements.remember(artifact.dir.name, artifact.options, Measured(memory_bytes=memory_bytes))


def _need_of_node(artifact: Artifact, known: Measured) -> Need:
    if known.memory_bytes:
        return Need(known.memory_bytes, is_measured=True)
    return Need(_size(artifact.dir) if artifact.onnx else 0, is_measured=False)


def _admit(need: Need, spec: VersionSpec) -> None:
    reason = refuse_what_does_not_fit(need, node_room(), mend=_MEND_NODE)
    if reason is not None:
        raise ServingError(ErrorKind.UNAVAILABLE, f"{spec.model} version {spec.version} {reason}")


def _measure_gpu(artifact: Artifact, spec: VersionSpec, measurements: Measurements) -> int:
    trial = try_version(artifact.dir, spec.tags, spec.reach)
    if reason := refusal(trial.findings):
        raise invalid(reason)
    measurements.remember(artifact.dir.name, artifact.options, Measured(gpu_bytes=trial.gpu_bytes))
    return trial.gpu_bytes


def _with_ceiling(spec: VersionSpec, options: ServingOptions, need_bytes: int, room: Room) -> ServingOptions:
    """Admit a version to its GPU, and bound what it may take there, unless its tag does."""
    if not need_bytes:  # it runs on the CPU after all
        return options
    reason = refuse_what_does_not_fit(Need(need_bytes, is_measured=True), room, share=spec.gpu_share, mend=_MEND_GPU)
    if reason is not None:
        raise ServingError(ErrorKind.UNAVAILABLE, f"{spec.model} version {spec.version} {reason}")
    ceiling = options.gpu_mem_limit_bytes or round(HEADROOM * need_bytes)
    return msgspec.structs.replace(options, gpu_mem_limit_bytes=ceiling)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
