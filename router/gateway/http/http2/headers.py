"""Header blocks without a dynamic table (HPACK, RFC 7541). Pure.

We announce a table of no size, and Envoy is told to use none (`router.node.envoy_config`). A block then depends on
nothing before it, so equal blocks mean equal headers and are read once: what a client repeats with each call costs a
look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from router.gateway.http.http2.huffman import decode_huffman

#: RFC 7541, appendix A; entries without a value have an empty one.
_STATIC: Final = tuple(
    (name.encode(), value.encode())
    for name, _, value in (
        entry.partition("=")
        for entry in (
            ":authority", ":method=GET", ":method=POST", ":path=/", ":path=/index.html", ":scheme=http",
            ":scheme=https", ":status=200", ":status=204", ":status=206", ":status=304", ":status=400", ":status=404",
            ":status=500", "accept-charset", "accept-encoding=gzip, deflate", "accept-language", "accept-ranges",
            "accept", "access-control-allow-origin", "age", "allow", "authorization", "cache-control",
            "content-disposition", "content-encoding", "content-language", "content-length", "content-location",
            "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match",
            "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "link",
            "location", "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh",
            "retry-after", "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent",
            "vary", "via", "www-authenticate",
        )
    )
)  # fmt: skip
#: What begins a connection's first block: the sender's table is to hold nothing ("Dynamic Table Size Update").
NO_TABLE: Final = b"\x20"
#: Largest list of headers that is read, counted as peers count it.
MAX_LIST_BYTES: Final = 32 * 1024
#: What an entry counts beyond its name and value ("Calculating Table Size").
_ENTRY_BYTES: Final = 32
#: Blocks and strings longer than these are not remembered.
_KEPT_BLOCK_BYTES: Final = 1024
_KEPT_STRING_BYTES: Final = 64


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a header block says. Shared by all calls with the same block: to be copied before it is changed."""

    method: str
    path: bytes
    headers: dict[str, str]
    """All but the pseudo-headers; of a name that is given twice, the last."""
    is_too_large: bool
    """More than `MAX_LIST_BYTES` of names, values, and 32 bytes for each pair; not read to its end then."""


class BrokenBlock(ValueError):
    """A header block that cannot be read; so cannot what follows it."""


def read_head(block: bytes) -> Head:
    """Read a request's header block.

    Raises:
        BrokenBlock: it cannot be decoded, or refers to a dynamic table.
    """
    return _read_kept(block) if len(block) <= _KEPT_BLOCK_BYTES else _read(block)


def header(name: str, value: str | bytes) -> bytes:
    """Write one header as a literal that nobody keeps."""
    coded = value.encode() if isinstance(value, str) else value
    return b"\x00" + _integer(len(name), 7) + name.encode() + _integer(len(coded), 7) + coded


def status(code: int) -> bytes:
    """Write an answer's first header."""
    pair = (b":status", b"%d" % code)
    return _indexed(_STATIC.index(pair) + 1) if pair in _STATIC else header(":status", pair[1])


def _indexed(index: int) -> bytes:
    return bytes((0x80 | index,))


def _read(block: bytes) -> Head:
    size, fields = 0, []
    try:
        for name, value in _read_fields(block):
            fields.append((name, value))
            size += len(name) + len(value) + _ENTRY_BYTES
            if size > MAX_LIST_BYTES:
                break
    except (IndexError, ValueError) as error:
        raise BrokenBlock(f"the header block cannot be read: {error}") from None
    known = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    method, path = known.pop(":method", ""), known.pop(":path", "")
    headers = {name: value for name, value in known.items() if not name.startswith(":")}
    return Head(method, path.encode("latin-1"), headers, size > MAX_LIST_BYTES)


_read_kept: Final = lru_cache(maxsize=1024)(_read)


def _read_fields(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Decode a block field by field; IndexError and ValueError for one that is broken."""
    offset = 0
    while offset < len(block):
        first = block[offset]
        if first & 0x80:  # an entry of the table
            index, offset = _read_integer(block, offset, 7)
            yield _entry(index)
            continue
        if first & 0xE0 == 0x20:  # the table's new size
            size, offset = _read_integer(block, offset, 5)
            if size:
                raise ValueError("it wants a dynamic table")
            continue
        # A literal; one to be put into the table would only clear it, since it is larger than the whole table.
        index, offset = _read_integer(block, offset, 6 if first & 0x40 else 4)
        if index:
            name = _entry(index)[0]
        else:
            name, offset = _read_string(block, offset)
        value, offset = _read_string(block, offset)
        yield name, value


def _entry(index: int) -> tuple[bytes, bytes]:
    if not 0 < index <= len(_STATIC):
        raise ValueError(f"it refers to entry {index} of the table")
    return _STATIC[index - 1]


def _read_string(block: bytes, offset: int) -> tuple[bytes, int]:
    is_huffman = block[offset] & 0x80
    length, start = _read_integer(block, offset, 7)
    end = start + length
    if end > len(block):
        raise ValueError("it ends inside a string")
    string = block[start:end]
    if not is_huffman or length > MAX_LIST_BYTES:  # too large as it is: no need to see what it stands for
        return string, end
    return _decode_kept(string) if length <= _KEPT_STRING_BYTES else decode_huffman(string), end


_decode_kept: Final = lru_cache(maxsize=1024)(decode_huffman)


def _read_integer(block: bytes, offset: int, prefix_bits: int) -> tuple[int, int]:
    """Read an integer that begins in the low bits of a byte (RFC 7541, 5.1); more than 28 bits further are refused."""
    mask = (1 << prefix_bits) - 1
    value = block[offset] & mask
    offset += 1
    if value < mask:
        return value, offset
    for shift in (0, 7, 14, 21):
        byte = block[offset]
        offset += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise ValueError("it has a number that is too large")


def _integer(value: int, prefix_bits: int) -> bytes:
    """Write an integer into the low bits of a byte that is zero otherwise, and as many more as it takes."""
    mask = (1 << prefix_bits) - 1
    if value < mask:
        return bytes((value,))
    written = bytearray((mask,))
    value -= mask
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
