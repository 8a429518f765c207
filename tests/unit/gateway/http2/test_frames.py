"""Frames are cut from what is read, however it comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.http.http2.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    MAX_FRAME_BYTES,
    PADDED,
    PREFACE,
    SETTINGS,
    ConnectionFault,
    FrameReader,
    frame,
    read_settings,
    read_u32,
    settings_frame,
    write_u32,
)

_FRAMES = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from([0, 1, 4, 5]),
        st.integers(0, 9),
        st.binary(max_size=30) | st.integers(0, MAX_FRAME_BYTES).map(bytes),
    ),
    max_size=5,
)


def joined(found: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
    """Put the parts of each DATA frame together: all but its last are without the flag, and follow each other."""
    whole: list[tuple[int, int, int, bytes]] = []
    for kind, flags, stream, payload in found:
        if kind == DATA and whole and whole[-1][0] == DATA and whole[-1][2] == stream and not whole[-1][1] & END_STREAM:
            whole[-1] = (DATA, whole[-1][1] | flags, stream, whole[-1][3] + payload)
        else:
            whole.append((kind, flags, stream, payload))
    return whole


@given(_FRAMES, st.lists(st.integers(0, 40_000), max_size=8))
def test_it_does_not_matter_how_frames_are_cut_on_their_way(
    sent: list[tuple[int, int, int, bytes]], cuts: list[int]
) -> None:
    """DATA may come in parts, everything else comes whole, and nothing is lost or moved."""
    data = PREFACE + b"".join(frame(*each) for each in sent)
    reader, found = FrameReader(), []
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, stop in pairwise(edges):
        found += [(kind, flags, stream, bytes(part)) for kind, flags, stream, part in reader.feed(data[start:stop])]

    assert joined(found) == joined(sent)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREFACE[:10] + b"!",
        PREFACE + frame(HEADERS, 0, 1, bytes(MAX_FRAME_BYTES + 1)),
        PREFACE + frame(DATA, 0, 1, bytes(MAX_FRAME_BYTES + 1))[:20],
        PREFACE + frame(DATA, PADDED, 1, b"\x00"),
        PREFACE + frame(HEADERS, PADDED, 1, b"\x00"),
    ],
)
def test_what_envoy_never_sends_is_a_fault(data: bytes) -> None:
    """At once, before it is collected."""
    with pytest.raises(ConnectionFault):
        list(FrameReader().feed(data))


@given(st.dictionaries(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), max_size=5))
def test_settings_are_read_as_they_are_written(values: dict[int, int]) -> None:
    """In a frame of the connection."""
    ((kind, flags, stream, payload),) = FrameReader().feed(PREFACE + settings_frame(values))

    assert (kind, flags, stream) == (SETTINGS, 0, 0)
    assert read_settings(payload) == values


def test_numbers_have_four_bytes() -> None:
    """And settings six each."""
    assert read_u32(write_u32(1 << 31)) == 1 << 31
    with pytest.raises(ConnectionFault):
        read_u32(b"123")
    with pytest.raises(ConnectionFault):
        read_settings(b"1234567")
