"""Content codings of HTTP bodies: gzip and deflate, both ways (RFC 9110, 8.4).

What comes in is bounded by what it grows to, not by what it weighs. What goes out is compressed only where it pays: not
below a kilobyte, and raw tensors only for a client that means it. General-purpose clients list every coding they know
on every request, and floating-point data shrinks by a tenth at thirty megabytes a second.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Final

import msgspec

from router.gateway.http.wire import OCTETS, Answer
from serving.protocol.errors import invalid, too_large
from serving.protocol.messages import Buffer

#: Answers smaller than this leave as they are: most fit one packet either way.
COMPRESS_FROM_BYTES: Final = 1024
#: Up to this size compressing costs less than a turn through a thread.
COMPRESS_INLINE_BELOW_BYTES: Final = 16 * 1024

_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_WINDOWS: Final = {"gzip": _GZIP_WINDOW, "deflate": zlib.MAX_WBITS}
_REFUSED: Final = re.compile(r";\s*q=0(?:\.0{0,3})?\s*$")


def content_coding(named: str) -> str:
    """Read a `content-encoding` as the coding to undo; empty for none.

    Raises:
        ServingError: INVALID for a coding, or several, that are not offered.
    """
    named = named.strip().lower()
    if named in {"", "identity"}:
        return ""
    coding = named.removeprefix("x-")
    if coding not in _WINDOWS:
        raise invalid(f'content-encoding: "{named[:32]}" is not one of gzip, deflate')
    return coding


def decompress(body: Buffer, coding: str, max_bytes: int) -> bytes:
    """Expand a body; never to more than `max_bytes`, whatever it claims.

    Raises:
        ServingError: INVALID when it is not of this coding, TOO_LARGE when it grows beyond the limit.
    """
    parts: list[bytes] = []
    room, window = max_bytes, _WINDOWS[coding]
    rest: Buffer = body
    if coding == "deflate" and not _has_zlib_header(body):
        window = -zlib.MAX_WBITS  # many clients send the bare stream (RFC 9110, 8.4.1.2)
    while rest:
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(rest, room + 1)
        except zlib.error:
            raise invalid(f"the body is not {coding}, as its content-encoding says") from None
        room -= len(part)
        if room < 0:
            raise too_large(f"the body grows beyond {max_bytes} bytes when it is decompressed")
        if not stream.eof:
            raise invalid(f"the {coding} body ends too early")
        parts.append(part)
        rest = stream.unused_data
        if not part and rest:  # empty members are legal; a body of nothing else is an attack
            raise invalid(f"the {coding} body has an empty part")
    return b"".join(parts)


def accepted_coding(headers: Mapping[str, str], answer: Answer) -> str:
    """Choose the coding of an answer; empty to leave it as it is."""
    if answer.size < COMPRESS_FROM_BYTES or answer.status != 200:
        return ""
    entries = [entry.strip().lower() for entry in headers.get("accept-encoding", "").split(",")[:16]]
    wanted = [entry.split(";")[0].strip() for entry in entries if not _REFUSED.search(entry)]
    offered = [coding for coding in _WINDOWS if coding in wanted or (coding == "gzip" and "*" in wanted)]
    if not offered:
        return ""
    is_raw = OCTETS.encode() in answer.headers
    is_meant = len(wanted) == 1 or "content-encoding" in headers
    return offered[0] if is_meant or not is_raw else ""


def compress_answer(answer: Answer, coding: str) -> Answer:
    """Compress a whole answer; `Inference-Header-Content-Length` goes on counting the bytes before."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    parts = [stream.compress(piece) for piece in answer.body]
    body = b"".join([*parts, stream.flush()])
    lines = answer.headers + b"content-encoding: %s\r\nvary: accept-encoding\r\n" % coding.encode()
    return msgspec.structs.replace(answer, headers=lines, body=[body])


def _has_zlib_header(body: Buffer) -> bool:
    """Tell a zlib stream by its checksum (RFC 1950, 2.2)."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
