"""Where a body begins and ends, as HTTP/1.1 says and as clients say it."""

from __future__ import annotations

import pytest

from tests.data_plane import MODEL, DataPlane
from tests.raw_http import RawPeer, chunked, echoed, infer_body, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"


async def test_a_chunked_body_is_put_together(peer: RawPeer) -> None:
    """Chunks may end anywhere and carry extensions."""
    body = infer_body(3, 0, 0, 0)
    head = request(INFER, b"", "transfer-encoding: chunked")
    await peer.send(head + chunked(*(body[i : i + 5] for i in range(0, len(body), 5)), extension=b";x=y"))

    assert (await echoed(peer))[0] == 3


async def test_trailers_are_not_headers(plane: DataPlane, peer: RawPeer) -> None:
    """What comes after the body cannot choose the variant."""
    await plane.set_policy(
        variants=[{"name": "a", "version": 1, "weight": 10_000}, {"name": "b", "version": 1, "weight": 0}],
        rules=[{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "b"}],
    )
    head = request(INFER, b"", "transfer-encoding: chunked", "trailer: x-cohort")
    await peer.send(head + chunked(infer_body(0, 0, 0, 0), trailers=b"x-cohort: beta\r\n"))

    assert (await peer.answer()).headers["x-shepherd-variant"] == "a"


@pytest.mark.parametrize("framing", [
    ("content-length: 3", "transfer-encoding: chunked"),
    ("content-length: 3", "content-length: 4"),
    ("content-length: -1",),
    ("content-length: 1e3",),
    ("transfer-encoding: chunked, identity",),
])  # fmt: skip
async def test_ambiguous_framing_is_refused(peer: RawPeer, framing: tuple[str, ...]) -> None:
    """Two readings of where a body ends are how requests are smuggled past a proxy (RFC 9112, 6.3)."""
    await peer.send(request(INFER, b"0\r\n\r\n", *framing))

    assert (await peer.answer()).status == 400
    assert await peer.is_closed()


async def test_http_1_0_is_answered_and_closed(peer: RawPeer) -> None:
    """HTTP/1.0 has no pipelining and no chunks: one answer with a length, then the end."""
    await peer.send(request(INFER, infer_body(4, 0, 0, 0), version="1.0"))

    assert (await echoed(peer))[0] == 4
    assert await peer.is_closed()


async def test_connection_close_is_honoured(peer: RawPeer) -> None:
    """The answer says so too."""
    await peer.send(request(INFER, infer_body(5, 0, 0, 0), "connection: close"))

    answer = await peer.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await peer.is_closed()


async def test_a_client_that_expects_continue_gets_it_before_its_body(peer: RawPeer) -> None:
    """Also when its request waits behind another one."""
    body = infer_body(6, 0, 0, 0)
    head = request(INFER, b"", "expect: 100-continue", f"content-length: {len(body)}")
    await peer.send(request(INFER, infer_body(1, 0, 0, 0)) + head)

    assert (await echoed(peer))[0] == 1
    assert (await peer.answer()).status == 100
    await peer.send(body)
    assert (await echoed(peer))[0] == 6


async def test_a_body_that_will_be_too_large_is_refused_instead_of_continued(peer: RawPeer) -> None:
    """Who asks first is told before it sends anything."""
    await peer.send(request(INFER, b"", "expect: 100-continue", "content-length: 100000000"))

    assert (await peer.answer()).status == 413


@pytest.mark.parametrize("pieces", [1, 3])
async def test_an_offer_to_upgrade_is_passed_over(peer: RawPeer, pieces: int) -> None:
    """The request is answered in HTTP/1.1, body and all; Java's client offers HTTP/2 with every first request."""
    offer = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    sending = request(INFER, infer_body(8, 0, 0, 0), *offer)
    step = len(sending) // pieces + 1
    await peer.send(*[sending[i : i + step] for i in range(0, len(sending), step)])

    assert (await echoed(peer))[0] == 8
    assert await peer.is_open()


async def test_a_tunnel_is_refused(peer: RawPeer) -> None:
    """CONNECT is for proxies."""
    await peer.send(b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n")

    assert (await peer.answer()).status == 400
