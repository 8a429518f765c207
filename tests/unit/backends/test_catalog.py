"""The catalog builds a version's backend from its name and options."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.backends.catalog import backend_names, create
from serving.backends.outgoing import Reach
from serving.protocol.errors import ServingError
from tests import models


class Files(msgspec.Struct, frozen=True):
    """A fetched version, as far as a backend cares."""

    onnx: Path | None = None


class Options(msgspec.Struct, frozen=True):
    """A version's serving options, as far as a backend cares."""

    threads: int = 1
    max_batch: int = 64
    provider: str = "auto"
    gpu_mem_limit_bytes: int = 0
    settings: Mapping[str, Any] = {}


def test_an_onnx_version_runs_in_the_onnx_backend_with_its_options(tmp_path: Path) -> None:
    """Threads and provider come from the version's tags."""
    path = tmp_path / "model.onnx"
    path.write_bytes(models.mlp())

    backend = create("onnx", Files(path), Options(threads=2), Reach())
    backend.load()

    assert backend.describe()["threads"] == 2


def test_settings_of_a_backend_may_be_text() -> None:
    """They come from tags, which are strings."""
    backend = create("echo", Files(), Options(settings={"delay_ms": "1.5", "fail_to_load": "true"}), Reach())

    assert backend.describe()["delay_ms"] == 1.5


def test_an_unknown_backend_is_an_error_that_lists_the_known() -> None:
    """A typo in a tag must not fall back to some default."""
    with pytest.raises(ServingError, match=", ".join(backend_names())):
        create("onxx", Files(), Options(), Reach())


def test_an_unknown_setting_is_an_error_that_names_it() -> None:
    """A typo in a setting must not be ignored."""
    with pytest.raises(ServingError, match="delay"):
        create("echo", Files(), Options(settings={"delay": "1"}), Reach())


def test_the_onnx_backend_needs_a_file() -> None:
    """A version without a model file cannot be an ONNX one."""
    with pytest.raises(ServingError, match="ONNX file"):
        create("onnx", Files(), Options(), Reach())


def test_onnxruntime_is_imported_only_when_a_model_needs_it() -> None:
    """Processes without ONNX models start without its weight."""
    program = "import sys, serving.backends.catalog; print('onnxruntime' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"
