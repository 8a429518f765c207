"""Who in this process wants to hear of which application's replicas."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from serving.channel.endpoint import Endpoint

#: Key of a replica's published metadata.
ENDPOINT_KEY: Final = "endpoint"

_log = logging.getLogger(__name__)
_listeners: dict[str, list[Callable[[Sequence[Endpoint]], None]]] = {}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Endpoint).decode


def publish(endpoint: Endpoint) -> dict[str, str]:
    """Build the metadata by which a replica is found: plain values, so that no process needs our classes to read it."""
    return {ENDPOINT_KEY: _encode(endpoint).decode()}


def listen(app: str, listener: Callable[[Sequence[Endpoint]], None]) -> None:
    """Call `listener` with the endpoints of an application whenever they change."""
    _listeners.setdefault(app, []).append(listener)


def unlisten(app: str, listener: Callable[[Sequence[Endpoint]], None]) -> None:
    """Stop that."""
    remaining = _listeners.get(app, [])
    if listener in remaining:
        remaining.remove(listener)
    if not remaining:
        _listeners.pop(app, None)


def announce(app: str, metadata: Iterable[Mapping[str, Any]]) -> None:
    """Pass on the endpoints that an application's replicas published."""
    endpoints = tuple(_decode(each[ENDPOINT_KEY]) for each in metadata if ENDPOINT_KEY in each)
    for listener in tuple(_listeners.get(app, ())):
        try:
            listener(endpoints)
        except Exception:  # noqa: BLE001 - one listener's defect must not keep news from the others
            _log.exception("A listener to the replicas of %s failed", app)
