"""Features that were looked up before the request came, and that the model does not take: kept with its record. Pure.

The gateway has no feature store. Whoever has one (a client, a transformer in front) puts what it found into the
request's parameters as `feature.<name>`: it goes no further than the log, where a training finds it as it was then.
Features that the model takes are its inputs, and in the log as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.requestlog.record import Feature

PREFIX: Final = "feature."
MAX_FEATURES: Final = 256
NO_FEATURES: Final[Mapping[str, Feature]] = {}


def looked_up(parameters: Mapping[str, Feature]) -> Mapping[str, Feature]:
    """Pick the features out of a request's parameters, by their names without the prefix; the first `MAX_FEATURES`."""
    named = [name for name in parameters if name.startswith(PREFIX) and len(name) > len(PREFIX)]
    return {name[len(PREFIX) :]: parameters[name] for name in named[:MAX_FEATURES]}


def size_bytes(features: Mapping[str, Feature]) -> int:
    """Tell how much a record grows by them, about: what the payload cap is held against."""
    return sum(len(name) + (len(value) if isinstance(value, str) else 8) for name, value in features.items())
