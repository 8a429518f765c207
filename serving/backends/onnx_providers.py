"""Which of onnxruntime's execution providers run a model, in which order, with which options. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal

from serving.protocol.errors import ServingError, invalid

Provider = Literal["auto", "cpu", "cuda", "tensorrt"]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
#: Those whose tensors live in a GPU's memory.
GPU_PROVIDERS: Final = frozenset({CUDA, TENSORRT})

#: Providers in the order in which each node of a graph is offered to them. TensorRT builds engines for minutes, so it
#: is used only where asked for; what it cannot run goes to CUDA, and the rest to the CPU.
_PREFERENCE: Final[dict[str, tuple[str, ...]]] = {
    "auto": (CUDA, CPU),
    "cpu": (CPU,),
    "cuda": (CUDA, CPU),
    "tensorrt": (TENSORRT, CUDA, CPU),
}


def choose_providers(wanted: Provider, available: Collection[str]) -> tuple[str, ...]:
    """Choose providers, the preferred one first.

    Args:
        wanted: by the version's tag.
        available: in this build of onnxruntime.

    Raises:
        ServingError: INVALID, the provider that is asked for by name is not there.
    """
    preference = _PREFERENCE[wanted]
    if wanted != "auto" and preference[0] not in available:
        raise missing_provider(wanted, f"this onnxruntime has only {', '.join(available)}")
    return tuple(name for name in preference if name in available)


def check_taken(wanted: Provider, running: Sequence[str]) -> None:
    """See that a session runs on the provider that was asked for: onnxruntime falls back without an error.

    Raises:
        ServingError: INVALID, it runs on another.
    """
    if wanted != "auto" and running[0] != _PREFERENCE[wanted][0]:
        raise missing_provider(
            wanted, f"it cannot be used here: no GPU, no driver or no CUDA libraries; {running[0]} is"
        )


def provider_options(name: str, gpu_mem_limit_bytes: int) -> dict[str, str]:
    """Return a provider's options; 0 bytes for no ceiling."""
    if name == CUDA and gpu_mem_limit_bytes:
        # By default the arena doubles each time that it grows, and would run into the ceiling at half of it.
        return {"gpu_mem_limit": str(gpu_mem_limit_bytes), "arena_extend_strategy": "kSameAsRequested"}
    if name == TENSORRT and gpu_mem_limit_bytes:
        return {"trt_max_workspace_size": str(gpu_mem_limit_bytes)}
    return {}


def missing_provider(wanted: str, reason: str) -> ServingError:
    """Say that a provider is not there, and what to do."""
    return invalid(
        f"provider {wanted} is asked for, but {reason};"
        " install the `gpu` extra on a machine with a GPU, or set the version's tag shepherd.provider to auto"
    )
