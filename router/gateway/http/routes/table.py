"""Finds the handler of a path and a method; the path is taken apart before it is decoded. Pure.

Decoding first would turn `m%2fready` into two segments, and one name into another's route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from router.access.scope import EVERYTHING, Action, Scope
from router.gateway.names import NAME, read_version
from serving.protocol.errors import invalid, not_found

_MAX_SHOWN: Final = 64


class Reply(NamedTuple):
    """An answer: a document for JSON, a text, or nothing."""

    document: Any = None
    status: int = 200
    text: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Asked(NamedTuple):
    """One request."""

    path: Mapping[str, str]
    """What the pattern's `{names}` stand for."""
    headers: Mapping[str, str]
    body: bytes
    scope: Scope = EVERYTHING
    """What the caller may do."""

    def sees(self, model: str) -> bool:
        """Tell whether a model is the caller's to know of."""
        return self.scope.allows(Action.METADATA, model)

    @property
    def model(self) -> str:
        """The model that the path names."""
        return self.path["model"]

    @property
    def version(self) -> int | None:
        """The version that the path names, if any.

        Raises:
            ServingError: NOT_FOUND, since nothing that is not a number can be a version.
        """
        return read_version(self.path.get("version", ""))

    def members(self) -> dict[str, Any]:
        """Read the body as a JSON object; an empty body is an empty object.

        Raises:
            ServingError: INVALID.
        """
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any]) if self.body.strip() else {}
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise invalid(f"body: {error}") from None


Handler = Callable[[Asked], Awaitable[Reply]]


class Route(NamedTuple):
    """Who answers, and what the caller must be allowed to do."""

    handler: Handler
    action: Action | None
    """None: open to everybody; only health, which tells nothing but that."""


class MethodNotAllowedError(Exception):
    """The path exists, the method does not."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed on {path}; use {allowed}")
        self.allowed = allowed


class Routes:
    """All paths, by number of segments; a segment `{name}` stands for any model, version or label."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[tuple[tuple[str, ...], dict[str, Route]]]] = {}

    def add(self, method: str, pattern: str, action: Action | None, handler: Handler) -> None:
        """Answer a method on a pattern of paths to those who may take the action; GET answers HEAD too."""
        segments = tuple(pattern.strip("/").split("/"))
        entries = self._by_length.setdefault(len(segments), [])
        methods = next((methods for known, methods in entries if known == segments), None)
        if methods is None:
            methods = {}
            entries.append((segments, methods))
        methods[method] = Route(handler, action)

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """Find who answers.

        Raises:
            ServingError: NOT_FOUND.
            MethodNotAllowedError: another method would be answered.
        """
        raw = raw_path.decode("latin-1")
        if not raw.startswith("/"):
            raise not_found("the path must begin with /")
        segments = [unquote(segment) for segment in raw[1:].removesuffix("/").split("/")]
        shown = raw[:_MAX_SHOWN]
        otherwise: list[str] = []
        for pattern, methods in self._by_length.get(len(segments), ()):
            values = _match(pattern, segments)
            if values is None:
                continue
            route = methods.get("GET" if method == "HEAD" else method)
            if route is not None:
                return route, values
            otherwise += _allowed(methods)  # a later pattern may still take it: `1:classify` looks like a version
        if otherwise:
            raise MethodNotAllowedError(method[:16], shown, ", ".join(otherwise))
        raise not_found(f'no such path: "{shown}"; the API begins at /v2')


def _match(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    values: dict[str, str] = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if not expected.startswith("{"):
            if expected != segment:
                return None
            continue
        name, _, ending = expected[1:].partition("}")
        if not segment.endswith(ending):
            return None
        values[name] = segment.removesuffix(ending) if ending else segment
    return values if "model" not in values or NAME.fullmatch(values["model"]) else None


def _allowed(methods: Mapping[str, Route]) -> list[str]:
    return [name for method in sorted(methods) for name in ((method, "HEAD") if method == "GET" else (method,))]
