"""Answers leave in order, whole, and never faster than the peer has room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.http.http2.frames import (
    DATA,
    FIRST_WINDOW,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    SETTING_WINDOW,
    ConnectionFault,
)
from router.gateway.http.http2.sending import SendWindows
from serving.protocol.messages import Buffer
from tests.http2_frames import whole_frames


def sent(pieces: list[Buffer]) -> bytes:
    """Return the bytes of the bodies in what may leave."""
    return b"".join(payload for kind, _, _, payload in whole_frames(b"".join(pieces)) if kind == DATA)


END = b"\x00\x00\x00\x01\x05\x00\x00\x00\x01"  # empty trailers
SIZES = st.integers(0, 3 * FIRST_WINDOW)


@given(SIZES, st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 2 * FIRST_WINDOW)), max_size=20))
def test_an_answer_leaves_as_windows_widen(size: int, grants: list[tuple[int, int]]) -> None:
    """Never beyond either window; all of it, and then its end, once there is room."""
    body = bytes(index % 251 for index in range(size))
    windows = SendWindows()
    room = {0: FIRST_WINDOW, 1: FIRST_WINDOW}
    out = b"".join(windows.send(1, [body], size, END))
    assert len(sent([out])) <= min(room.values())

    for stream, more in [*grants, (0, size + 1), (1, size + 1)]:
        room[stream] += more
        out += b"".join(windows.grant(stream, more))
        assert len(sent([out])) <= min(room.values())

    assert sent([out]) == body
    assert out.endswith(END)
    assert not windows.left()


def test_small_answers_share_the_connections_window() -> None:
    """What does not fit waits in full view, and is forgotten with its stream."""
    windows = SendWindows()
    pieces = [windows.send(number, [bytes(MAX_FRAME_BYTES)], MAX_FRAME_BYTES, END) for number in (1, 3, 5, 7, 9)]

    assert [len(sent(each)) for each in pieces] == [MAX_FRAME_BYTES] * 3 + [MAX_FRAME_BYTES - 1, 0]
    assert windows.left() == {7: 1, 9: MAX_FRAME_BYTES}
    windows.forget(7)
    assert sent(windows.grant(0, MAX_FRAME_BYTES)) == bytes(MAX_FRAME_BYTES)
    assert not windows.left()


def test_settings_move_the_windows_of_what_waits() -> None:
    """By the difference, which may be negative."""
    windows = SendWindows()
    windows.grant(0, MAX_WINDOW - FIRST_WINDOW)
    windows.send(1, [bytes(FIRST_WINDOW + 10)], FIRST_WINDOW + 10, END)

    assert windows.configure({SETTING_WINDOW: FIRST_WINDOW - 5}) == []
    assert sent(windows.configure({SETTING_WINDOW: FIRST_WINDOW + 3})) == bytes(3)
    assert windows.left() == {1: 7}


@pytest.mark.parametrize(("stream", "size"), [(0, 0), (1, 0), (0, MAX_WINDOW)])
def test_windows_have_bounds(stream: int, size: int) -> None:
    """Widening by nothing or beyond 2^31 - 1 is the peer's fault."""
    windows = SendWindows()

    with pytest.raises(ConnectionFault):
        windows.grant(stream, size)
    with pytest.raises(ConnectionFault):
        windows.configure({SETTING_WINDOW: MAX_WINDOW + 1})
