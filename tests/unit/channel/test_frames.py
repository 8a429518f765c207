"""Frames survive any cutting of the stream, and nonsense is refused before anything is allocated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.channel.frames import HEAD, Frame, FrameBuffer, Kind, MalformedFrame, frame_head, pack_extra, unpack_extra
from serving.protocol.errors import ErrorKind, ServingError

frames = st.tuples(
    st.sampled_from(list(Kind)), st.integers(0, 2**32 - 1), st.binary(max_size=8), st.binary(max_size=60)
)


def wire(kind: Kind, call_id: int, extra: bytes, body: bytes) -> bytes:
    return frame_head(kind, len(extra) + len(body), call_id=call_id, extra_bytes=len(extra)) + extra + body


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 50), max_size=30))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[tuple[Kind, int, bytes, bytes]], cuts: list[int]
) -> None:
    """Reads of any size give the same frames in the same order."""
    stream = b"".join(wire(*frame) for frame in sent)
    buffer = FrameBuffer()
    received: list[Frame] = []

    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        received += buffer.feed(piece)

    assert [(f.kind, f.call_id, bytes(f.extra), bytes(f.body)) for f in received] == sent


@pytest.mark.parametrize(
    "head",
    [
        HEAD.pack(2**31, Kind.INFER, 0, 0, 1, 0, 0),
        HEAD.pack(4, 99, 0, 0, 1, 0, 0),
        HEAD.pack(4, Kind.INFER, 0, 5, 1, 0, 0),
    ],
    ids=["a body beyond the limit", "an unknown kind", "more extra than body"],
)
def test_a_head_that_no_peer_sends_ends_the_connection(head: bytes) -> None:
    """The stream cannot be trusted after it, so there is no next frame."""
    with pytest.raises(MalformedFrame):
        FrameBuffer().feed(head + b"12345678")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_frames_or_a_malformed_frame_and_nothing_else(data: bytes) -> None:
    """A hostile peer cannot raise anything unforeseen."""
    try:
        for frame in FrameBuffer(max_body_bytes=1000).feed(data):
            unpack_extra(frame.extra)
    except MalformedFrame:
        pass


@given(
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=3)),
)
def test_rare_parts_survive_and_cost_nothing_when_absent(outputs: list[str], parameters: dict[str, int | str]) -> None:
    """unpack_extra is the inverse of pack_extra, and no extras are no bytes."""
    extra = pack_extra(tuple(outputs), dict(parameters))

    assert unpack_extra(memoryview(extra)) == (tuple(outputs), parameters)
    assert bool(extra) == bool(outputs or parameters)


@pytest.mark.parametrize(
    ("outputs", "parameters", "named"),
    [
        (("y" * 70_000,), {}, "outputs: "),
        ((), {"sequence_start": "x" * 70_000}, "parameters.sequence_start: "),
        (tuple(f"{i:0300}" for i in range(256)), {"sequence_id": 7}, "outputs, parameters.sequence_id: "),
    ],
)
def test_extras_that_no_frame_can_hold_are_refused(
    outputs: tuple[str, ...], parameters: dict[str, int | str], named: str
) -> None:
    """Their length is a u16: beyond it the request is refused, by the names of its fields."""
    with pytest.raises(ServingError) as raised:
        pack_extra(outputs, dict(parameters))

    assert raised.value.kind is ErrorKind.TOO_LARGE
    assert raised.value.message.startswith(named)
    assert "the limit is 65535" in raised.value.message
