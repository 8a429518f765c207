"""Shares of traffic, in basis points. Pure."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

#: Basis points in a whole: 10 000 bp = 100 %.
WHOLE_BP: Final = 10_000

BasisPoints = Annotated[int, Meta(ge=0, le=WHOLE_BP)]
