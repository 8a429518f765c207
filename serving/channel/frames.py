"""The tensor channel's frames: how requests and answers look between a router and a replica. Pure.

Every frame is a fixed 20-byte head and a body:

    u32 body length | u8 kind | u8 small | u16 extra length | u32 call id | u32 first | u32 second

`extra` is the first part of the body and holds what is rare, as MessagePack. The three numbers mean, by kind:

    HELLO    body: token; second: protocol version      router -> replica, must come first
             extra: the guest that the connection is for, UTF-8; empty where a process serves one version
    READY    first: max_in_flight                       replica -> router: the credits of this connection
    INFER    small: 1 for a shadow; first: timeout, ms (0: none); extra: [outputs, parameters]; body: packed tensors
    RESULT   small: batch size (255 caps it); first: queued µs; second: run µs; body: packed tensors
    ERROR    small: ErrorKind; body: message, UTF-8
    CANCEL   the caller of this call id went away
    GOAWAY   the replica drains: finish what is in flight, send nothing new

There is one credit per outstanding INFER; RESULT and ERROR give it back. A frame is never pickled, its length is
bounded before anything is allocated, and the connection is dropped at the first malformed one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from serving.protocol.errors import too_large
from serving.protocol.messages import Parameter

VERSION: Final = 1
HEAD: Final = struct.Struct("<IBBHIII")
HEAD_BYTES: Final = HEAD.size
#: Largest body that a peer accepts: above any request limit, far below what would hurt to allocate by mistake.
MAX_BODY_BYTES: Final = 1 << 30
#: Largest body of a hello: a token and a guest's name. A peer that has said none yet may not fill more memory.
MAX_HELLO_BYTES: Final = 4096
#: Largest `extra`: what its length in the head can say.
MAX_EXTRA_BYTES: Final = 0xFFFF


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    READY = 2
    INFER = 3
    RESULT = 4
    ERROR = 5
    CANCEL = 6
    GOAWAY = 7


#: Plain numbers of the kinds that are written per request: a look-up in an enumeration costs as much as the packing.
_INFER: Final = int(Kind.INFER)
_RESULT: Final = int(Kind.RESULT)
_NO_EXTRA: Final = memoryview(b"")
_pack_head = HEAD.pack
_unpack_head = HEAD.unpack_from


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One received frame; `body` is a view of the received bytes without `extra`."""

    kind: int
    small: int
    call_id: int
    first: int
    second: int
    extra: memoryview
    body: memoryview


class MalformedFrame(Exception):
    """The peer does not speak this protocol; drop the connection."""


_Extra = tuple[tuple[str, ...], dict[str, Parameter]]
_encode_extra = msgspec.msgpack.Encoder().encode
_extra_decoder: msgspec.msgpack.Decoder[_Extra] = msgspec.msgpack.Decoder(_Extra)


def frame_head(
    kind: int,
    body_bytes: int,
    *,
    call_id: int = 0,
    small: int = 0,
    extra_bytes: int = 0,
    first: int = 0,
    second: int = 0,
) -> bytes:
    """Build a head for a body of `body_bytes`, extra included; INFER and RESULT have functions of their own."""
    return HEAD.pack(body_bytes, kind, small, extra_bytes, call_id, first, second)


def infer_head(call_id: int, body_bytes: int, extra_bytes: int, timeout_ms: int, is_shadow: bool) -> bytes:  # noqa: FBT001 - made per request, and names cost
    """Build the head of an INFER."""
    return _pack_head(body_bytes, _INFER, is_shadow, extra_bytes, call_id, timeout_ms, 0)


def result_head(call_id: int, body_bytes: int, batch_size: int, queued_us: int, run_us: int) -> bytes:
    """Build the head of a RESULT; numbers too large for their field are capped."""
    return _pack_head(
        body_bytes, _RESULT, min(batch_size, 0xFF), 0, call_id, min(queued_us, 0xFFFFFFFF), min(run_us, 0xFFFFFFFF)
    )


def pack_extra(outputs: tuple[str, ...], parameters: dict[str, Parameter]) -> bytes:
    """Encode an INFER's rare parts; nothing at all when there are none.

    Raises:
        ServingError: TOO_LARGE when they do not fit into a frame.
    """
    if not outputs and not parameters:
        return b""
    extra = _encode_extra((outputs, parameters))
    if len(extra) > MAX_EXTRA_BYTES:
        named = [*(["outputs"] if outputs else []), *[f"parameters.{name}" for name in parameters]]
        raise too_large(f"{', '.join(named)}: {len(extra)} bytes together, the limit is {MAX_EXTRA_BYTES}")
    return extra


def unpack_extra(extra: memoryview) -> _Extra:
    """Decode what `pack_extra` made."""
    if not len(extra):
        return ((), {})
    try:
        return _extra_decoder.decode(extra)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedFrame(str(error)) from error


def split_frames(data: bytes | bytearray, max_body_bytes: int = MAX_BODY_BYTES) -> tuple[list[Frame], int]:
    """Cut the complete frames off the front of `data`; return them and how many bytes they took.

    Raises:
        MalformedFrame: a head that no peer of ours sends.
    """
    frames: list[Frame] = []
    view = memoryview(data)
    position, size = 0, len(data)
    while size - position >= HEAD_BYTES:
        length, kind, small, extra_bytes, call_id, first, second = _unpack_head(data, position)
        if length > max_body_bytes or extra_bytes > length or not 1 <= kind <= 7:
            raise MalformedFrame(f"kind {kind}, {length} bytes of body, {extra_bytes} of extra")
        start = position + HEAD_BYTES
        end = start + length
        if end > size:
            break
        extra = _NO_EXTRA
        if extra_bytes:
            extra = view[start : start + extra_bytes]
            start += extra_bytes
        frames.append(Frame(kind, small, call_id, first, second, extra, view[start:end]))
        position = end
    return frames, position


class FrameBuffer:
    """Bytes on their way to becoming frames.

    In the common case a read holds whole frames and nothing is copied. A frame larger than one read is gathered in a
    list and joined once, when its last byte is there.
    """

    __slots__ = ("_chunks", "_held", "_needed", "max_body_bytes")

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = 0
        self.max_body_bytes = max_body_bytes
        """Of frames that come from now on."""

    def feed(self, data: bytes) -> Iterable[Frame]:
        """Take what was read; return the frames it completed."""
        if self._held:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return ()
            data = b"".join(self._chunks)
            self._chunks, self._held = [], 0
        frames, taken = split_frames(data, self.max_body_bytes)
        if taken < len(data):
            rest = data[taken:] if taken else data
            self._chunks, self._held = [rest], len(rest)
            self._needed = HEAD_BYTES if len(rest) < HEAD_BYTES else HEAD_BYTES + HEAD.unpack_from(rest)[0]
        return frames
