"""A golden example recorded in a child process is that which would be recorded here; a deadly model kills nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.golden_recording import record_here
from serving.registry.isolated_recording import record_apart
from serving.registry.registry import Registry
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

DEADLY = {"shepherd.backend": "echo", "shepherd.echo.crash_on": "1"}
ROW = b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 3e38]},'
EXAMPLE = ROW + b' {"name": "b", "datatype": "FP32", "shape": [1, 2], "data": [1e-40, 7]}]}'


@pytest.mark.parametrize(("content", "example"), [(models.two_inputs(), EXAMPLE), (models.strings(), None)])
def test_it_is_the_example_that_would_be_recorded_here(tmp_path: Path, content: bytes, example: bytes | None) -> None:
    """Bit by bit, with its origin and the signature."""
    (tmp_path / "model.onnx").write_bytes(content)

    assert record_apart(tmp_path, {}, example, Reach()) == record_here(tmp_path, {}, example, Reach())


def test_what_is_wrong_is_told_in_the_same_words(tmp_path: Path) -> None:
    """Kind and message of the error."""
    (tmp_path / "model.onnx").write_bytes(models.wrong_at_runtime())
    told = []
    for recorder in (record_here, record_apart):
        with pytest.raises(ServingError) as refused:
            recorder(tmp_path, {}, None, Reach())
        told.append((refused.value.kind, refused.value.message))

    assert told[0] == told[1]


def test_a_model_that_ends_its_process_is_refused_and_nothing_is_registered(tmp_path: Path) -> None:
    """Neither by whoever registers it nor, later, by whoever looks for its example."""
    registry = Registry.open(None, state_dir=tmp_path, recorder=record_apart)

    with pytest.raises(ServingError, match="ended with status 70") as refused:
        registry.register("deadly", None, tags=DEADLY)

    assert refused.value.kind is ErrorKind.INVALID
    assert registry.register("fine", models.add_one()) == 1
    with pytest.raises(ServingError, match="not in the registry"):
        registry.resolve("deadly", 1)
    registry.close()
