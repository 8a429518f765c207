"""A pushed model appears whole or not at all, where the operator says, and goes with its last user."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from serving.backends.onnx import OnnxBackend
from serving.backends.triton_push import PushedModel, render_config
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Signature, TensorSpec
from serving.protocol.pb.model_config_pb2 import ModelConfig
from tests import models


def describe(onnx: Path) -> Signature:
    backend = OnnxBackend(onnx)
    backend.load()
    return backend.signature


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


def model_file(folder: Path, content: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def nothing() -> None:
    """No server to tell."""


def test_the_files_are_those_that_a_triton_reads(tmp_path: Path, repository: Path) -> None:
    """Model, external data beside it, and a configuration; for others to read and nobody to change."""
    pushed = PushedModel(models.with_external_data(tmp_path), repository, "big", 8)

    pushed.place(describe)
    folder = repository / pushed.name
    assert (folder / "1" / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    assert (folder / "1" / "weights.data").read_bytes() == (tmp_path / "weights.data").read_bytes()
    assert (folder / "config.pbtxt").stat().st_mode & 0o777 == 0o444
    assert folder.stat().st_mode & 0o777 == 0o755
    assert describe(folder / "1" / "model.onnx").batchable
    pushed.leave(nothing)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SPECS = st.builds(
    TensorSpec,
    NAMES,
    st.sampled_from(["FP32", "FP16", "BF16", "INT64", "UINT8", "BOOL", "BYTES"]),
    st.lists(st.integers(-1, 9).filter(bool), min_size=1, max_size=4).map(tuple),
)


@given(st.lists(SPECS, min_size=1, max_size=4), st.lists(SPECS, min_size=1, max_size=4), st.booleans())
def test_the_configuration_says_what_the_model_takes(
    inputs: list[TensorSpec], outputs: list[TensorSpec], batchable: bool
) -> None:
    """Whatever its tensors are called: read by protobuf's own parser of Triton's own schema, the signature is back."""
    read = ModelConfig()
    text_format.Parse(render_config("m", Signature(tuple(inputs), tuple(outputs), "", batchable), 16), read)

    assert read.backend == "onnxruntime"
    assert read.max_batch_size == (16 if batchable else 0)
    assert read.HasField("dynamic_batching") == batchable
    for ours, theirs in ((inputs, read.input), (outputs, read.output)):
        assert [spec.name for spec in ours] == [tensor.name for tensor in theirs]
        assert [list(spec.shape[1 if batchable else 0 :]) for spec in ours] == [list(each.dims) for each in theirs]
        assert all(each.data_type for each in theirs), "TYPE_INVALID is 0"


def test_two_versions_under_one_name_do_not_touch_each_other(tmp_path: Path, repository: Path) -> None:
    """A folder is named after its content; equal content is one model."""
    first = PushedModel(model_file(tmp_path, models.add(1.0), "a"), repository, "m", 8)
    second = PushedModel(model_file(tmp_path, models.add(2.0), "b"), repository, "m", 8)
    twin = PushedModel(model_file(tmp_path, models.add(1.0), "c"), repository, "m", 8)
    for each in (first, second, twin):
        each.place(describe)

    assert visible(repository) == {first.name, second.name}
    assert twin.name == first.name
    for each in (first, second, twin):
        each.leave(nothing)


def test_two_trainings_of_one_graph_are_two_models(tmp_path: Path, repository: Path) -> None:
    """Weights in external data count: the graph beside them is the same, byte by byte."""
    placed = []
    for training, weight in (("first", b"\1"), ("second", b"\2")):
        (tmp_path / training).mkdir()
        onnx = models.with_external_data(tmp_path / training)
        data = onnx.parent / "weights.data"
        data.write_bytes(weight * data.stat().st_size)
        placed.append(PushedModel(onnx, repository, "m", 8))
        placed[-1].place(describe)
        assert (repository / placed[-1].name / "1" / "weights.data").read_bytes() == data.read_bytes()

    assert len(visible(repository)) == 2
    for each in placed:
        each.leave(nothing)


def test_the_last_user_takes_the_model_away(tmp_path: Path, repository: Path) -> None:
    """Also one that is another process: the kernel holds the locks."""
    told: list[str] = []
    path = model_file(tmp_path, models.add_one())
    first, second = PushedModel(path, repository, "m", 8), PushedModel(path, repository, "m", 8)
    first.place(describe)
    second.place(describe)

    first.leave(lambda: told.append("first"))
    first.leave(lambda: told.append("first again"))
    assert visible(repository) == {first.name}

    second.leave(lambda: told.append("second"))
    assert visible(repository) == set()
    assert told == ["second"]


def test_a_model_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path, repository: Path) -> None:
    """No server ever sees half of it."""
    pushed = PushedModel(model_file(tmp_path, models.custom_operator()), repository, "m", 8)

    with pytest.raises(ServingError):
        pushed.place(describe)
    pushed.leave(nothing)

    assert {path.suffix for path in repository.iterdir()} <= {".lock"}


@pytest.mark.parametrize("name", ["../m", "a/b", "", ".m", "m\n", "x" * 101, "/etc"])
def test_a_name_that_could_lead_out_of_the_folder_is_refused(tmp_path: Path, repository: Path, name: str) -> None:
    """It is text of whoever may write tags."""
    with pytest.raises(ServingError, match=r"shepherd\.triton\.model") as refused:
        PushedModel(model_file(tmp_path, models.add_one()), repository, name, 8)

    assert refused.value.kind is ErrorKind.INVALID


def test_a_folder_that_is_not_there_is_the_operators_mistake(tmp_path: Path) -> None:
    """Nothing is made in its place: it may be a mount that is missing."""
    with pytest.raises(ServingError, match="triton_push_folder"):
        PushedModel(model_file(tmp_path, models.add_one()), tmp_path / "gone", "m", 8)
