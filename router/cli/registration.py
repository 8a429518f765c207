"""Register a version through the gateway that runs, else straight into the registry of the state directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from router.cli.client import GatewayUnreachable
from router.cli.failures import CommandFailed
from router.cli.location import connect, find_node
from router.settings import Settings
from serving.protocol.errors import ServingError


class Candidate(NamedTuple):
    """What becomes a version."""

    name: str
    file: Path | None
    """The ONNX file; None for a model that lives elsewhere."""
    example: bytes | None
    """A V2 inference request."""
    tags: dict[str, str]


def register(candidate: Candidate, settings: Settings, url: str | None, token: str | None) -> int:
    """Add a version and return its number.

    Raises:
        GatewayUnreachable: a gateway was named by `url` and does not answer.
        GatewayRefusal: the gateway refused.
        CommandFailed: the registry refused.
    """
    if url is None and not _runs(settings.state_dir):
        return _register_directly(candidate, settings)
    with connect(settings.state_dir, url, token) as client:
        onnx = candidate.file.read_bytes() if candidate.file else b""
        return client.register(candidate.name, onnx, example=candidate.example, tags=candidate.tags)


def triton_tags(urls: Sequence[str], model: str, version: str | None) -> dict[str, str]:
    """Say where a model lives, in tags of its version."""
    tags = {"shepherd.backend": "triton", "shepherd.triton.urls": ",".join(urls), "shepherd.triton.model": model}
    return tags | {"shepherd.triton.model_version": version} if version else tags


def _runs(state_dir: Path) -> bool:
    try:
        find_node(state_dir)
    except GatewayUnreachable:
        return False
    return True


def _register_directly(candidate: Candidate, settings: Settings) -> int:
    # MLflow and onnxruntime come with these
    from router.control.catalogue import open_registry
    from serving.registry.mlflow import RegistryUnavailable

    registry = open_registry(settings)
    try:
        return registry.register(candidate.name, candidate.file, candidate.example, candidate.tags)
    except (ServingError, RegistryUnavailable) as error:
        raise CommandFailed(str(error)) from None
    finally:
        registry.close()
