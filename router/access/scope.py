"""What a key may do: which actions, on which models. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from serving.protocol.errors import invalid

#: Stands for any characters of a name, also none.
ANY: Final = "*"
#: Patterns that one key may have: each costs every request that the ones before it do not match.
MAX_PATTERNS: Final = 100
_PATTERN: Final = re.compile(r"[A-Za-z0-9*][\w.*-]{0,127}", re.ASCII)
_SHOWN: Final = 64


class Action(enum.StrEnum):
    """What a request wants of the data plane."""

    INFER = "infer"
    """Predictions."""
    METADATA = "metadata"
    """To read about the server and its models."""
    FEEDBACK = "feedback"
    """To send labels."""
    REPOSITORY = "repository"
    """To have versions loaded and unloaded; control wants a token of the admin API besides."""
    SETTINGS = "settings"
    """To change log and trace settings."""


#: What clients of models need; the others are given by name only.
ORDINARY: Final = frozenset({Action.INFER, Action.METADATA, Action.FEEDBACK})


class Scope(msgspec.Struct, frozen=True):
    """Actions on models."""

    models: tuple[str, ...]
    """Names, or patterns with `*`."""
    actions: frozenset[Action] = ORDINARY

    def allows(self, action: Action, model: str) -> bool:
        """Tell whether a request is within the scope.

        One about the server as a whole names no model (`""`): reading about it takes none, everything else takes all.
        """
        if action not in self.actions:
            return False
        if not model:
            return action is Action.METADATA or ANY in self.models
        return any(matches(pattern, model) for pattern in self.models)

    def __str__(self) -> str:
        return f"{', '.join(sorted(self.actions))} on {', '.join(self.models)}"


#: The scope of everybody where keys are not asked for.
EVERYTHING: Final = Scope((ANY,), frozenset(Action))


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name fits a pattern. Never backtracks: no pattern makes a name expensive."""
    if ANY not in pattern:
        return pattern == name
    first, *middle, last = pattern.split(ANY)
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:  # taking each piece as early as it comes leaves the most room for those after it
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def read_scope(models: Sequence[str], actions: Sequence[str] | None = None) -> Scope:
    """Read a scope as operators write it; without actions, it has the ordinary ones.

    Raises:
        ServingError: INVALID, naming the field.
    """
    if not models or len(models) > MAX_PATTERNS:
        raise invalid(f"models: name 1 to {MAX_PATTERNS} models, or patterns with {ANY}")
    for pattern in models:
        if not _PATTERN.fullmatch(pattern):
            raise invalid(f'models: "{pattern[:_SHOWN]}" is no model\'s name, nor a pattern of names with {ANY}')
    if actions is None:
        return Scope(tuple(models))
    known = ", ".join(Action)
    try:
        chosen = frozenset(map(Action, actions))
    except ValueError:
        raise invalid(f"actions: each must be one of {known}") from None
    if not chosen:
        raise invalid(f"actions: name at least one of {known}")
    return Scope(tuple(models), chosen)
