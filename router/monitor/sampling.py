"""Which answers wait for their labels when not all of them can: a fair share, drawn by request id. Pure.

Every request id has a rank, drawn by a hash: half of all ids have rank 0, a quarter rank 1, and so on. At level n the
answers of rank n and above are kept, one in 2^n. So whether an answer can be labelled depends on nothing but its id:
not on the time of day, nor on what the model said. An answer is kept or left out together with those of its shadows,
and going up a level means to drop the lowest rank.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

#: Ranks above this one are not told apart: the thinnest sample is one in 32 768.
MAX_RANK: Final = 15
_BITS: Final = 32


def rank_of(request_id: str) -> int:
    """Draw the rank of an answer, of a request or of its shadow: see `shadow_id`."""
    request, _, _ = request_id.partition(" ")
    drawn = int.from_bytes(blake2b(request.encode("utf-8", "replace"), digest_size=_BITS // 8).digest(), "big")
    return min(MAX_RANK, _BITS - drawn.bit_length())


def share_kept(level: int) -> float:
    """Return the share of answers that are kept at a level."""
    return 2.0**-level
