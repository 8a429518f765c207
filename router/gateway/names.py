"""Names and versions of models as clients write them in paths and messages. Pure."""

from __future__ import annotations

import re
from typing import Final

from serving.protocol.errors import not_found

#: Any other name is no model's, so it is refused before anybody looks for it.
NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_MAX_VERSION_DIGITS: Final = 9
_MAX_SHOWN: Final = 64


def read_version(text: str) -> int | None:
    """Read a version; None for an empty one.

    Raises:
        ServingError: NOT_FOUND, since nothing that is not a number can be a version.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_VERSION_DIGITS):
        raise not_found(f'"{text[:_MAX_SHOWN]}" is not a version: versions are numbers')
    return int(text)
