"""Weighted rendezvous hashing: which arm a key belongs to, without any state. Pure.

Every arm draws a number u in (0, 1) from a hash of the key; the arm with the smallest `-log2(u) / weight` gets the key.
These are exponential variates with rates in the ratio of the weights, so an arm wins with probability weight / sum
("logarithmic method", Schindelhauer and Schomaker, Weighted Distributed Hash Tables, SPAA 2005). An arm's score depends
on nothing but the key and the arm itself, hence the two laws that a rollout rests on:

- raising a weight lowers that arm's score only, so no key ever leaves it;
- removing an arm moves only the keys that it had.

The draws are BLAKE2b keyed by purpose, salt and arm, one digest each: arms and experiments are independent by the
strength of the hash, with no mixing step to argue for. Every router must choose alike, whatever its platform, so the
logarithm is integer arithmetic over a table and not libm's, whose last digit is not specified; the one division is
IEEE 754, correctly rounded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

# Fixed point of the logarithm: table cells per octave, fraction bits of the result, fraction bits used inside a cell.
_CELL_BITS = 10
_LOG_BITS = 32
_STEP_BITS = 20

# log2 at the cell borders of one octave. Rounding to 32 bits of fraction hides what libm leaves open (about 2^-52).
_BORDERS = tuple(
    round(math.log2(1 + cell / (1 << _CELL_BITS)) * (1 << _LOG_BITS)) for cell in range((1 << _CELL_BITS) + 1)
)
_LOG2 = _BORDERS[:-1]
_RISE = tuple(after - before for before, after in itertools.pairwise(_BORDERS))

# Where the 64-bit number, its top bit dropped, splits into cell index and place inside the cell.
_CELL_SHIFT = 63 - _CELL_BITS
_STEP_SHIFT = _CELL_SHIFT - _STEP_BITS
_STEP_MASK = (1 << _STEP_BITS) - 1


class Arm(NamedTuple):
    """One choice of a split, ready to draw."""

    name: str
    weight: int
    """Above 0, in any unit that all arms share."""
    hasher: blake2b


def keyed_hasher(purpose: str, salt: str, name: str = "") -> blake2b:
    """Prepare the hash of 8 bytes that `draw` copies for each key.

    `purpose` (at most 16 bytes) keeps e.g. the sampling of shadows independent of the split under the same salt.
    Neither salt nor name may contain NUL, which separates them.
    """
    key = blake2b(f"{salt}\0{name}".encode(), digest_size=32).digest()
    return blake2b(digest_size=8, key=key, person=purpose.encode())


def make_arms(salt: str, weights: Iterable[tuple[str, int]]) -> tuple[Arm, ...]:
    """Prepare arms from (name, weight), in the order given; those of weight 0 never win and are left out."""
    return tuple(Arm(name, weight, keyed_hasher("split", salt, name)) for name, weight in weights if weight > 0)


def draw(hasher: blake2b, key: bytes) -> int:
    """Draw a uniform odd number below 2^64, the same for the same hasher and key."""
    hasher = hasher.copy()
    hasher.update(key)
    return int.from_bytes(hasher.digest(), "little") | 1


def neg_log2(number: int) -> int:
    """Return `-log2(number / 2^64)` in units of 2^-32, for 0 < number < 2^64; never increases with `number`.

    Linear between table borders: at most 1.8e-7 too high, and within 0.05 % of the value where that nears 0 (u near 1),
    which is what decides the share of an arm with a weight of one basis point.
    """
    length = number.bit_length()
    mantissa = (number << (64 - length)) - (1 << 63)
    cell = mantissa >> _CELL_SHIFT
    step = (mantissa >> _STEP_SHIFT) & _STEP_MASK
    return ((65 - length) << _LOG_BITS) - _LOG2[cell] - (_RISE[cell] * step >> _STEP_BITS)


def score(arm: Arm, key: bytes) -> float:
    """Return what the arm bids for the key: the smallest wins."""
    # An int below 2^53 over an int: correctly rounded by Python, so equal everywhere and falling in the weight.
    return neg_log2(draw(arm.hasher, key)) / arm.weight


def choose(arms: Sequence[Arm], key: bytes) -> int:
    """Return the position of the arm that gets the key. Needs at least one arm; with one, nothing is hashed."""
    if len(arms) == 1:
        return 0
    best = 0
    best_score = score(arms[0], key)
    for position in range(1, len(arms)):
        candidate = score(arms[position], key)
        # Ties (about 2^-38) go by name: any rule that does not depend on the other arms keeps both laws.
        if candidate < best_score or (candidate == best_score and arms[position].name < arms[best].name):
            best, best_score = position, candidate
    return best
