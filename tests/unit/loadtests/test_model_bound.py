"""The comparison with bare onnxruntime says what it cannot measure, and runs in pieces."""

from __future__ import annotations

import onnxruntime
import pytest
from click.testing import CliRunner

from loadtests.model_bound import main


def test_without_a_gpu_it_says_so_and_ends_well() -> None:
    """A target that fails on most machines would be run on none."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")

    ended = CliRunner().invoke(main, ["--provider", "cuda"])

    assert ended.exit_code == 0
    assert "has no CUDAExecutionProvider: skipped" in ended.output


def test_the_loop_alone_needs_no_gateway() -> None:
    """For a machine where Ray is not wanted, or does not start."""
    ended = CliRunner().invoke(main, ["--step", "direct", "--seconds", "0.1"])

    assert ended.exit_code == 0, ended.output
    assert "onnxruntime in a loop" in ended.output
