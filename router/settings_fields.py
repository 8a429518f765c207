"""The fields of the settings as operators meet them: keys, flags, meanings and valid words. Pure."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta

from router.settings import Settings


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """List the types of `Annotated[A | B, …]`."""
    inner = get_args(kind)[0]
    return get_args(inner) if get_origin(inner) is UnionType else (inner,)


TYPES: Final[dict[str, Any]] = get_type_hints(Settings, include_extras=True)
KEYS: Final = tuple(Settings.__struct_fields__)
PATH_KEYS: Final = frozenset(key for key, kind in TYPES.items() if Path in _alternatives(kind))
"""Settings that name a file or a folder."""


def describe(key: str) -> str:
    """Say what a key means."""
    metas: tuple[Meta, ...] = TYPES[key].__metadata__
    return next((meta.description for meta in metas if meta.description), "")


def choices(key: str) -> tuple[str, ...]:
    """List the words that a key may be; none where it is no choice of words."""
    kind = get_args(TYPES[key])[0]
    return get_args(kind) if get_origin(kind) is Literal else ()


def flag_of(key: str) -> str:
    """Name the command-line flag of a key."""
    return {"state_dir": "--state", "registry_uri": "--registry"}.get(key, "--" + key.replace("_", "-"))
