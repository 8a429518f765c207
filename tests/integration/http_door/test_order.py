"""Requests of one connection are answered in the order in which they came, whatever they are."""

from __future__ import annotations

import pytest

from tests.data_plane import MODEL
from tests.raw_http import RawPeer, echoed, infer_body, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"


async def test_pipelined_inferences_are_answered_in_order(peer: RawPeer) -> None:
    """Many requests in one packet: the first asked is the first answered."""
    await peer.send(b"".join(request(INFER, infer_body(i, 0, 0, 0)) for i in range(50)))

    assert [(await echoed(peer))[0] for _ in range(50)] == list(range(50))


async def test_inferences_and_other_requests_keep_their_order_on_one_connection(peer: RawPeer) -> None:
    """The callback path and the ASGI path take turns: neither overtakes the other."""
    ready = request("/v2/health/ready", method="GET")
    unknown = request("/nowhere", method="GET")
    await peer.send(
        ready
        + request(INFER, infer_body(1, 0, 0, 0))
        + ready
        + unknown
        + request(INFER, infer_body(2, 0, 0, 0))
        + ready
    )

    assert (await peer.answer()).status == 200
    assert (await echoed(peer))[0] == 1
    assert [(await peer.answer()).status for _ in range(2)] == [200, 404]
    assert (await echoed(peer))[0] == 2
    assert (await peer.answer()).body == b""


@pytest.mark.parametrize("path", [INFER, "/v2/nowhere"])
async def test_a_large_body_before_it_does_not_make_a_head_too_large(peer: RawPeer, path: str) -> None:
    """One read may bring the end of a body and the beginning of the next head: only the latter counts as head."""
    first, second = request(path, b" " * 65_400), request(INFER, infer_body(7, 0, 0, 0), "x-filler: " + "a" * 1000)
    await peer.send(first + second[:500])
    assert (await peer.answer()).status in {400, 404}
    await peer.send(second[500:])

    assert (await echoed(peer))[0] == 7


async def test_a_request_may_come_in_any_pieces(peer: RawPeer) -> None:
    """Byte by byte, through head and body."""
    for byte in request(INFER, infer_body(7, 0, 0, 0)):
        await peer.send(bytes([byte]))

    assert (await echoed(peer))[0] == 7


async def test_what_follows_garbage_is_not_answered_and_what_came_before_it_is(peer: RawPeer) -> None:
    """A parse error ends the connection, but only after the answers that were owed."""
    await peer.send(request(INFER, infer_body(1, 0, 0, 0)) + b"\x00\x01garbage\r\n\r\n" + request(INFER, infer_body(2)))

    assert (await echoed(peer))[0] == 1
    assert await peer.is_closed()


async def test_garbage_gets_a_json_400(peer: RawPeer) -> None:
    """Also what is not HTTP gets an answer of the usual form."""
    await peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

    answer = await peer.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert "HTTP" in answer.json()["error"]
