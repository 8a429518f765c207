"""Digests agree with `sha256sum`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from serving.protocol.errors import ServingError
from serving.registry.digest import file_digests, model_digest, tree_digest


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_digest_of_a_model_in_one_file_is_that_files(tmp_path: Path) -> None:
    """Anyone can check it by hand; metadata does not count."""
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    (tmp_path / "MLmodel").write_bytes(b"card")

    assert model_digest(file_digests(tmp_path)) == sha256(b"onnx")


def test_the_digest_of_several_files_is_that_of_sha256sums_output(tmp_path: Path) -> None:
    """Sorted by path, so that the order on disk does not matter."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.data").write_bytes(b"weights")
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    listing = f"{sha256(b'onnx')}  model.onnx\n{sha256(b'weights')}  sub/w.data\n"

    assert model_digest(file_digests(tmp_path)) == tree_digest(file_digests(tmp_path)) == sha256(listing.encode())


def test_a_version_without_model_files_has_no_digest(tmp_path: Path) -> None:
    """Nothing is no file."""
    assert model_digest(file_digests(tmp_path)) == ""


def test_links_are_refused(tmp_path: Path) -> None:
    """Their content is not the version's."""
    (tmp_path / "link.json").symlink_to("/etc/passwd")

    with pytest.raises(ServingError, match=r"'link\.json'"):
        file_digests(tmp_path)
