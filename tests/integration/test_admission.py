"""A version is tried where it can do no harm, and loaded only where there is room for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from serving.backends.outgoing import Reach
from serving.deployment.admission import fit, remember_memory
from serving.deployment.spec import VersionSpec
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import Artifact
from serving.registry.isolated_load import try_version
from serving.registry.registry import Registry
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PIB = 1 << 50
GIB = 1 << 30


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    registry = Registry.open(None, state_dir=tmp_path)
    registry.register("m", models.add_one())
    fetched = registry.fetch(registry.resolve("m", 1))
    registry.close()
    return fetched


def spec_of(artifact: Artifact, folder: Path, tags: Mapping[str, str] | None = None) -> VersionSpec:
    return VersionSpec(
        model=artifact.info.model,
        version=artifact.info.version,
        state_dir=folder,
        registry_uri=None,
        run_dir=folder,
        metrics_dir=folder,
        logs_dir=folder,
        cache_max_bytes=GIB,
        tags=tags or {},
    )


def test_a_version_that_fits_gets_threads_of_its_node(artifact: Artifact, tmp_path: Path) -> None:
    """A number in place of `auto`; nothing else changes."""
    options = fit(artifact, spec_of(artifact, tmp_path))

    assert isinstance(options.threads, int)
    assert options.threads >= 1
    assert options.gpu_mem_limit_bytes == 0


def test_a_version_that_was_seen_to_take_more_than_there_is_is_refused_with_the_numbers(
    artifact: Artifact, tmp_path: Path
) -> None:
    """It may fit later: the kind of error has it tried again, with pauses."""
    spec = spec_of(artifact, tmp_path)
    remember_memory(artifact, spec, PIB)

    with pytest.raises(ServingError, match=r"m version 1 does not fit: .* 1048576.0 GiB.*free") as refused:
        fit(artifact, spec)

    assert refused.value.kind is ErrorKind.UNAVAILABLE


def test_a_model_that_asks_for_more_memory_than_there_is_is_a_finding(tmp_path: Path) -> None:
    """Not the end of whoever tries it, nor of a process beside it; with room it is fine."""
    (tmp_path / "model.onnx").write_bytes(models.hungry(4 * GIB))

    (finding,) = try_version(tmp_path, {}, Reach(), limit_bytes=2 * GIB).findings

    assert finding.verdict == "failed"
    assert "more memory than the 2.0 GiB that are free" in finding.seen


def test_a_trial_measures_with_the_largest_batch(tmp_path: Path) -> None:
    """What a run takes grows with its rows."""
    (tmp_path / "model.onnx").write_bytes(models.mlp(hidden=2048))

    small, large = (
        try_version(tmp_path, {"shepherd.max_batch": str(rows)}, Reach()).memory_bytes for rows in (1, 8192)
    )

    assert small > 0
    assert large > small + 2048 * 8192 * 4


def test_without_a_gpu_nothing_of_one_is_measured(tmp_path: Path) -> None:
    """Nor asked for."""
    (tmp_path / "model.onnx").write_bytes(models.add_one())

    assert try_version(tmp_path, {"shepherd.provider": "cpu"}, Reach()).gpu_bytes == 0
