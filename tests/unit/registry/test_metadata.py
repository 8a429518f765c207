"""Metadata is read whole, so there is a bound to what is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import GOLDEN_RESPONSE, MLMODEL, PROFILE
from serving.registry.gate import check_version
from serving.registry.golden import Golden
from serving.registry.golden_recording import read_golden, write_golden
from serving.registry.metadata import MAX_METADATA_BYTES
from serving.registry.model_files import find_model
from tests import models


def sparse(path: Path, size_bytes: int) -> None:
    """Make a file of a size that takes no room on the disk."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.truncate(size_bytes)


def test_a_card_as_large_as_a_model_is_refused(tmp_path: Path) -> None:
    """The control process reads it before anything else is known of the version."""
    sparse(tmp_path / MLMODEL, 20 * 1024**3)

    with pytest.raises(ServingError, match="MLmodel has more than 1 MiB") as caught:
        find_model(tmp_path)

    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_an_example_as_large_as_a_model_is_refused(tmp_path: Path) -> None:
    """Its answer too."""
    write_golden(tmp_path, Golden((), (), "given"))
    sparse(tmp_path / GOLDEN_RESPONSE, MAX_METADATA_BYTES + 1)

    with pytest.raises(ServingError, match=r"golden_response\.json has more than 64 MiB"):
        read_golden(tmp_path, "given")


def test_a_profile_as_large_as_a_model_fails_the_check(tmp_path: Path) -> None:
    """As a finding like any other."""
    (tmp_path / "model.onnx").write_bytes(models.add_one())
    sparse(tmp_path / PROFILE, MAX_METADATA_BYTES + 1)

    (profile,) = (each for each in check_version("m", tmp_path, {}, Reach()).findings if each.check == "profile")

    assert (profile.verdict, "more than 64 MiB" in profile.seen) == ("failed", True)
