"""A version is admitted by measured bytes, and refused with the numbers and with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.registry.measurements import Measured, Measurements
from serving.registry.memory_check import Need, Room, refuse_what_does_not_fit
from serving.registry.node_memory import choose_gpu, node_room, parse_gpus, resident_bytes
from serving.registry.options import ServingOptions

GIB = 1 << 30
GPU = Room("GPU 0", 24 * GIB, 10 * GIB)
#: As `nvidia-smi --query-gpu=index,uuid,memory.total,memory.free --format=csv,noheader,nounits` prints it.
SMI = "0, GPU-8f3a-aa, 24576, 10240\n1, GPU-91c2-bb, 81559, 81000\n2, GPU-55-cc, [N/A], [N/A]\n"


def refusal(need_gib: float, *, share: float = 1.0, measured: bool = True, room: Room = GPU) -> str | None:
    return refuse_what_does_not_fit(Need(round(need_gib * GIB), measured), room, share=share, mend="buy memory")


# ── the decision ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 100 * GIB), st.integers(0, 100 * GIB), st.integers(0, 100 * GIB), st.floats(0, 1))
def test_nobody_gets_more_than_is_free_or_than_its_share(need: int, total: int, free: int, share: float) -> None:
    """Admission is exactly that."""
    free = min(free, total)
    refused = refuse_what_does_not_fit(Need(need, is_measured=True), Room("x", total, free), share=share, mend="m")

    assert (refused is None) == (need <= free and need <= round(share * total))


def test_a_refusal_names_the_numbers_and_what_to_do() -> None:
    """What it needs, what there is, and whose choice that was."""
    assert refusal(9) is None
    assert refusal(12) == (
        "does not fit: a replica was measured to take 12.0 GiB, and GPU 0 has 10.0 GiB free of 24.0 GiB; buy memory"
    )
    assert refusal(8, share=0.25) == (
        "does not fit: a replica was measured to take 8.0 GiB, and its share of 0.25 is 6.0 GiB of the 24.0 GiB of"
        " GPU 0; buy memory"
    )
    assert "by the size of its files, at least 12.0 GiB" in (refusal(12, measured=False) or "")


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_this_node_has_less_free_memory_than_memory_and_more_than_none() -> None:
    """By the kernel's own account; the first bytes of this process are in it."""
    room = node_room()

    assert 0 <= room.free_bytes < room.total_bytes
    assert 0 < resident_bytes() < room.total_bytes


@pytest.mark.parametrize(
    ("group", "free_gib"),
    [
        ({}, 4 - 0.4),
        ({"memory.max": "max", "memory.current": "0", "memory.stat": ""}, 4 - 0.4),
        ({"memory.max": str(2 * GIB), "memory.current": str(GIB), "memory.stat": f"inactive_file {GIB // 2}"}, 1.4),
        ({"memory.max": str(2 * GIB), "memory.current": str(2 * GIB), "memory.stat": "anon 1"}, 0),
    ],
    ids=["none", "no-limit", "limited", "full"],
)
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, group: dict[str, str], free_gib: float) -> None:
    """Cached files count as free; a twentieth is kept, below which Ray ends processes."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {8 << 20} kB\nMemFree: 1 kB\nMemAvailable: {4 << 20} kB\n")
    for name, text in group.items():
        (tmp_path / name).write_text(text)

    assert node_room(tmp_path / "meminfo", tmp_path).free_bytes == pytest.approx(free_gib * GIB, rel=0.001)


def test_gpus_are_read_as_the_driver_prints_them() -> None:
    """In MiB; one that tells nothing is left out."""
    assert [(gpu.number, gpu.total_bytes // GIB, gpu.free_bytes // GIB) for gpu in parse_gpus(SMI)] == [
        ("0", 24, 10),
        ("1", 79, 79),
    ]
    assert parse_gpus("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("visible", "index"),
    [(None, "0"), ("1", "1"), ("1,0", "1"), ("GPU-91c2", "1"), ("", None), ("-1", None), ("7", None)],
)
def test_a_process_looks_at_the_gpu_that_cuda_gives_it(visible: str | None, index: str | None) -> None:
    """Ray says so by `CUDA_VISIBLE_DEVICES`."""
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    gpu = choose_gpu(parse_gpus(SMI), environment)

    assert (gpu.number if gpu else None) == index


# ── what was seen ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_most_that_was_ever_seen_is_remembered(tmp_path: Path) -> None:
    """By files, provider and largest batch: another one takes other memory. What is damaged is measured anew."""
    measurements = Measurements(tmp_path / "measured")
    options, larger = ServingOptions(), ServingOptions(max_batch=512)
    assert measurements.of("d1", options) == Measured()

    measurements.remember("d1", options, Measured(memory_bytes=5))
    measurements.remember("d1", options, Measured(memory_bytes=3, gpu_bytes=7))

    assert measurements.of("d1", options) == Measured(5, 7)
    assert measurements.of("d1", larger) == measurements.of("d2", options) == Measured()
    next((tmp_path / "measured").iterdir()).write_bytes(b"rot")
    assert measurements.of("d1", options) == Measured()
