"""Spans of time as people write them, `90d` or `12h`, in seconds. Pure."""

from __future__ import annotations

import re
from typing import Final

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,9})\s*([smhd])", re.ASCII)


def parse_span(text: str) -> int:
    """Read a span.

    Raises:
        ValueError: saying what is expected.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise ValueError(f"{text}: expected a number and a unit, as 45m, 12h or 90d")
    return int(match[1]) * _UNIT_S[match[2]]
