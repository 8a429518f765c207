"""Rules of what the log keeps, by model: how much, how large, and what is hidden before it reaches a disk. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from serving.protocol.errors import invalid

EVERY_MODEL: Final = "*"
"""Stands for models without an entry of their own; entries are not combined."""
Action = Literal["drop", "hash", "truncate"]
Step = str | int | None
"""A member's name, a place in a list, or None for every place."""

_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+|\*)\]|\['([^']+)'\]")


class Redaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to hide of one tensor, input or output."""

    tensor: Annotated[str, Meta(min_length=1)]
    action: Action
    """drop it; replace each element by a keyed hash, so that equal ones stay equal; keep the first `length`
    characters of texts."""
    path: str = ""
    """For elements that are JSON texts: a path into them, as `$.user.emails[*]`; empty for whole elements."""
    length: Annotated[int, Meta(ge=0, le=1 << 20)] = 16

    @property
    def steps(self) -> tuple[Step, ...]:
        """The path taken apart; `ServingError` (INVALID) when it is none."""
        return read_path(self.path) if self.path else ()


class LogRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of one model's requests; a field left out is as for all models."""

    sample_bp: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    payload_max_bytes: Annotated[int, Meta(ge=1, le=1 << 28)] | None = None
    key: Literal["keep", "hash", "drop"] = "keep"
    """The sticky key, which may be a user's name."""
    redact: tuple[Redaction, ...] = ()


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, LogRule] = {}


def parse_rules(document: Any) -> Mapping[str, LogRule]:
    """Read rules by model, `*` for all others.

    Raises:
        ServingError: INVALID that names the place.
    """
    try:
        rules = msgspec.convert(document or {}, _Document).models
    except msgspec.ValidationError as error:
        raise invalid(f"log rules: {error}") from error
    for rule in rules.values():
        for redaction in rule.redact:
            _ = redaction.steps
    return rules


def read_path(path: str) -> tuple[Step, ...]:
    """Take `$.a.b[0][*]['c d']` apart.

    Raises:
        ServingError: INVALID.
    """
    steps: list[Step] = []
    place = 1
    while path[:1] == "$" and (step := _STEP.match(path, place)):
        name, index, quoted = step.groups()
        steps.append((None if index == "*" else int(index)) if index else name or quoted)
        place = step.end()
    if place != len(path) or not steps:
        raise invalid(f"log rules: {path!r} is no path; write it as $.user.emails[*]")
    return tuple(steps)
