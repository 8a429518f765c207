"""The best provider that is there runs a model, and one that is asked for by name runs it or nobody does."""

from __future__ import annotations

import pytest

from serving.backends.onnx_providers import (
    CPU,
    CUDA,
    TENSORRT,
    Provider,
    check_taken,
    choose_providers,
    provider_options,
)
from serving.protocol.errors import ErrorKind, ServingError

GPU_MACHINE = (TENSORRT, CUDA, CPU)


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        ("auto", (CPU,), (CPU,)),
        ("auto", GPU_MACHINE, (CUDA, CPU)),
        ("cpu", GPU_MACHINE, (CPU,)),
        ("cuda", GPU_MACHINE, (CUDA, CPU)),
        ("tensorrt", GPU_MACHINE, (TENSORRT, CUDA, CPU)),
        ("tensorrt", (TENSORRT, CPU), (TENSORRT, CPU)),
    ],
)
def test_providers_are_tried_in_the_order_of_their_speed(
    wanted: Provider, available: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    """TensorRT, then CUDA, then the CPU; TensorRT builds for minutes and is taken only where it is asked for."""
    assert choose_providers(wanted, available) == chosen


@pytest.mark.parametrize("wanted", ["cuda", "tensorrt"])
def test_a_gpu_that_is_asked_for_is_not_replaced_by_the_cpu(wanted: Provider) -> None:
    """Neither where the build lacks it nor where onnxruntime falls back because driver or libraries are missing."""
    for refuse in (lambda: choose_providers(wanted, (CPU,)), lambda: check_taken(wanted, (CPU,))):
        with pytest.raises(ServingError, match=f"provider {wanted} is asked for") as refused:
            refuse()
        assert refused.value.kind is ErrorKind.INVALID
        assert "shepherd.provider" in refused.value.message


def test_whoever_takes_what_is_there_may_fall_back() -> None:
    """`auto` promises nothing."""
    check_taken("auto", (CPU,))
    check_taken("cuda", (CUDA, CPU))


def test_the_ceiling_of_memory_reaches_the_gpu_only() -> None:
    """And there the arena grows by what is asked for: doubling would end at half of the ceiling."""
    assert provider_options(CUDA, 1 << 30)["gpu_mem_limit"] == str(1 << 30)
    assert provider_options(CUDA, 1 << 30)["arena_extend_strategy"] == "kSameAsRequested"
    assert provider_options(CPU, 1 << 30) == {}
    assert provider_options(CUDA, 0) == {}
