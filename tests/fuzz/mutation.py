"""Damages valid bytes, the same way for the same seed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

#: Bytes that parsers branch on, and numbers at the edges of their types.
_TOKENS: Final = (
    *(
        b"\x00",
        b"\xff",
        b"\x80",
        b'"',
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"-",
        b"e",
        b"\\u",
        b"\\ud800",
        b"%2f",
        b"..",
    ),
    *(b"null", b"NaN", b"1e999", b"-1", b"9" * 30, b"[" * 400, b"\xff\xff\xff\xff", b"\xff" * 9 + b"\x01"),
    *(b"18446744073709551616", b"2147483648", b"FP32", b"BYTES", b"BF16", b"binary_data_size", b"shared_memory_region"),
)


def mutants(seeds: tuple[bytes, ...], *, seed: int, count: int) -> Iterator[bytes]:
    """Yield the seeds, then so many damaged ones."""
    yield from seeds
    random = Random(seed)
    for _ in range(count):
        data = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 4)):
            _damage(data, random, seeds)
        yield bytes(data)


def _damage(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    at, length = random.randint(0, len(data)), random.randint(1, 8)
    match random.randrange(6):
        case 0:
            data[at : at + 1] = bytes((random.randrange(256),))
        case 1:
            del data[at : at + length]
        case 2:
            data[at:at] = random.choice(_TOKENS)
        case 3:
            data[at : at + length] = random.choice(_TOKENS)
        case 4:
            data[at:at] = data[at : at + 10 * length]
        case _:
            other = random.choice(seeds)
            data[at:] = other[random.randint(0, len(other)) :]
