"""A model's files in a folder: put there for registration, found there after a download."""

from __future__ import annotations

import mmap
import shutil
from pathlib import Path

import msgspec

from serving.backends.onnx_file import OnnxFile, read_onnx_file
from serving.protocol.errors import invalid
from serving.protocol.messages import Signature
from serving.registry.artifact import MLMODEL, check_path
from serving.registry.metadata import MAX_CARD_BYTES, read_metadata
from serving.registry.mlmodel import ONNX_FILE, ModelCard, parse_mlmodel


class ModelFiles(msgspec.Struct, frozen=True):
    """What a version's folder holds."""

    onnx: Path | None
    """None for a version whose backend needs no file."""
    opsets: dict[str, int]
    example: Path | None
    """An input example in the JSON of MLflow's scoring protocol."""
    declared: Signature | None = None
    """The signature in `MLmodel`, if it describes tensors."""


def place_model(folder: Path, onnx: bytes | Path | None) -> ModelFiles:
    """Put an ONNX model, and the external data that lies beside it when it is given by path, into an empty folder.

    Raises:
        ServingError: INVALID, it is no ONNX file, or its external data is missing or lies elsewhere.
    """
    if onnx is None:
        return ModelFiles(None, {}, None)
    target = folder / ONNX_FILE
    if isinstance(onnx, Path):
        shutil.copyfile(onnx, target)
        for name in _read(target).external_files:
            source = onnx.parent / check_path(name)
            if source.is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / name)
    else:
        target.write_bytes(onnx)
    return ModelFiles(target, _checked(target).opsets, None)


def find_model(folder: Path) -> ModelFiles:
    """Find the model in a version's files: where `MLmodel` says, or the only ONNX file where there is no `MLmodel`.

    Raises:
        ServingError: INVALID, `MLmodel` names what is not there, or external data is missing or lies elsewhere.
    """
    card = _card(folder)
    onnx = folder / card.onnx_file if card.onnx_file else None
    if onnx and not onnx.is_file():
        raise invalid(f"MLmodel names '{card.onnx_file}', which is not among the version's files")
    example = folder / card.example_file if card.example_file else None
    return ModelFiles(
        onnx=onnx,
        opsets=_checked(onnx).opsets if onnx else {},
        example=example if example and example.is_file() else None,
        declared=card.signature,
    )


def _card(folder: Path) -> ModelCard:
    path = folder / MLMODEL
    if path.is_file():
        return parse_mlmodel(read_metadata(path, MAX_CARD_BYTES).decode(errors="replace"))
    candidates = [path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")]
    if len(candidates) > 1:
        raise invalid(f"the version has no MLmodel and {len(candidates)} ONNX files; which to serve is unknown")
    return ModelCard(candidates[0] if candidates else None, None)


def _checked(path: Path) -> OnnxFile:
    """Read an ONNX file's facts; see that its external data lies in its folder and that it needs no foreign code."""
    facts = _read(path)
    if facts.custom_operators:
        names = ", ".join(sorted(facts.custom_operators)[:3])
        raise invalid(
            f"{path.name} uses custom operators ({names}); libraries of operators are code and never loaded:"
            " export the model with standard operators"
        )
    for name in sorted(facts.external_files):
        if not (path.parent / check_path(name)).is_file():
            raise invalid(f"{path.name} refers to external data '{name}', which is not beside it")
    return facts


def _read(path: Path) -> OnnxFile:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise invalid(f"{path.name} is empty")
        return read_onnx_file(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
