"""Which names and files are acceptable."""

from __future__ import annotations

import pytest

from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import ListedFile, check_name, check_path, wanted_files


@pytest.mark.parametrize("name", ["a", "flight-delay", "v1.2_x", "0", "x" * 128])
def test_plain_names_are_accepted(name: str) -> None:
    """Letters, digits, '_', '.' and '-', the first a letter or digit."""
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-o", "a/b", "a b", "a\n", "é", "x" * 129, "a\0"])
def test_other_names_are_refused(name: str) -> None:
    """They would mean something to a shell, a path or a URL."""
    with pytest.raises(ServingError, match="not acceptable"):
        check_name(name)


def test_models_and_metadata_are_fetched_and_nothing_else() -> None:
    """Pickles and code stay where they are."""
    listing = [
        ListedFile(path, 1)
        for path in (
            "MLmodel", "model.onnx", "weights.data", "model.onnx_data", "conda.yaml", "requirements.txt",
            "shepherd/golden_request.json", "model.pkl", "code/evil.py", "notes.txt", "sub/MLmodel", "model.onnx.exe",
        )
    ]  # fmt: skip

    assert {file.path for file in wanted_files(listing)} == {
        "MLmodel", "model.onnx", "weights.data", "model.onnx_data", "conda.yaml", "requirements.txt",
        "shepherd/golden_request.json",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["../model.onnx", "a/../../model.onnx", "/etc/x.json", "", "a\\b.json", "a\0.json"])
def test_paths_that_lead_out_of_the_folder_are_refused(path: str) -> None:
    """A store lists whatever somebody has put there."""
    with pytest.raises(ServingError, match="leads out"):
        check_path(path)


def test_too_many_bytes_or_files_are_refused_before_anything_is_fetched() -> None:
    """The listing tells the sizes."""
    with pytest.raises(ServingError, match="11 bytes; the limit is 10") as caught:
        wanted_files([ListedFile("a.onnx", 5), ListedFile("b.data", 6)], max_bytes=10)
    assert caught.value.kind is ErrorKind.TOO_LARGE
    with pytest.raises(ServingError, match="1001 files"):
        wanted_files([ListedFile(f"{number}.json", 0) for number in range(1001)])
