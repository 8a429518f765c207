"""Finds a backend by name and builds it; a runtime is imported only when a model needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from serving.backends.backend import Backend
from serving.backends.outgoing import Reach
from serving.protocol.errors import invalid

Options = TypeVar("Options")


class ModelFiles(Protocol):
    """What a backend reads of a fetched version."""

    @property
    def onnx(self) -> Path | None:
        """The ONNX file; None for a version that has none."""


class BackendOptions(Protocol):
    """What a backend reads of a version's serving options."""

    @property
    def threads(self) -> int | str:
        """Threads per operator; a word where nobody has decided, which is one."""

    @property
    def max_batch(self) -> int:
        """Most rows in one run."""

    @property
    def provider(self) -> str:
        """Execution provider: auto, cpu, cuda or tensorrt."""

    @property
    def gpu_mem_limit_bytes(self) -> int:
        """Ceiling of GPU memory; 0 for none."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The backend's own settings, by name; `onnx` has none."""


def create(
    backend_name: str,
    artifact: ModelFiles,
    options: BackendOptions,
    reach: Reach,
) -> Backend:
    """Build the named backend for a version; `load` is the caller's to call.

    Args:
        backend_name: onnx, triton or echo.
        artifact: the version's files.
        options: the version's own, which nobody has to trust.
        reach: how far the backend may reach.

    Raises:
        ServingError: INVALID, no such backend, a file it needs is missing, or a setting is wrong.
    """
    factory = _FACTORIES.get(backend_name)
    if factory is None:
        raise invalid(f"backend '{backend_name}' is unknown; there are {', '.join(backend_names())}")
    return factory(artifact, options, reach)


def backend_names() -> tuple[str, ...]:
    """List the backends, sorted."""
    return tuple(sorted(_FACTORIES))


def _onnx(artifact: ModelFiles, options: BackendOptions, _reach: Reach) -> Backend:
    from serving.backends.onnx import OnnxBackend, OnnxOptions

    if artifact.onnx is None:
        raise invalid("backend 'onnx' needs a version with an ONNX file; this one has none")
    settings = {
        "threads": options.threads if isinstance(options.threads, int) else 1,
        "provider": options.provider,
        "gpu_mem_limit_bytes": options.gpu_mem_limit_bytes,
    }
    return OnnxBackend(artifact.onnx, _convert(settings, OnnxOptions, "onnx"))


def _echo(_artifact: ModelFiles, options: BackendOptions, _reach: Reach) -> Backend:
    from serving.backends.echo import EchoBackend, EchoOptions

    return EchoBackend(_convert(options.settings, EchoOptions, "echo"))


def _triton(artifact: ModelFiles, options: BackendOptions, reach: Reach) -> Backend:
    try:
        from serving.backends.triton import TritonBackend, TritonOptions
        from serving.backends.triton_push import PushedModel
    except ImportError as error:
        raise invalid(f"backend 'triton' needs the extra `triton`: {error}") from error
    chosen = _convert(options.settings, TritonOptions, "triton")
    if not chosen.push:
        return TritonBackend(chosen, reach.hosts)
    if artifact.onnx is None:
        raise invalid("tag 'shepherd.triton.push' needs a version with an ONNX file; this one has none")
    if reach.push_folder is None:
        raise invalid(
            "tag 'shepherd.triton.push' needs the setting triton_push_folder: the model repository that the Tritons"
            " read, as a path of this machine"
        )
    pushed = PushedModel(artifact.onnx, reach.push_folder, chosen.model, options.max_batch)
    return TritonBackend(chosen, reach.hosts, pushed)


def _convert(settings: Mapping[str, Any], form: type[Options], backend: str) -> Options:
    try:
        return msgspec.convert(dict(settings), form, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(f"settings of backend '{backend}': {error}") from error


_FACTORIES: Final[dict[str, Callable[[ModelFiles, BackendOptions, Reach], Backend]]] = {
    "onnx": _onnx,
    "triton": _triton,
    "echo": _echo,
}
