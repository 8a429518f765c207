"""What a request may be at most; who exceeds it hears so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.raw_http import RawPeer, chunked, raw_peer, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index"])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_a_body_over_the_limit_is_refused_and_the_client_hears_it(peer: RawPeer, path: str, framing: str) -> None:
    """413 reaches also a client that goes on sending; the connection then closes."""
    body = b" " * 500_000
    if framing == "chunked":
        sending = request(path, b"", "transfer-encoding: chunked") + chunked(*[body[:5000]] * 100)
    else:
        sending = request(path, body)
    await peer.send(*[sending[i : i + 50_000] for i in range(0, len(sending), 50_000)])

    answer = await peer.answer()
    assert answer.status == 413
    assert "65536 bytes" in answer.json()["error"]
    assert await peer.is_closed()


async def test_a_flood_of_tiny_chunks_is_refused(valkey_socket: Path) -> None:
    """Each chunk costs more than its byte: past 65 536 of them the body is refused (CVE-2025-23310's class)."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane, raw_peer(plane.settings.http_port) as peer:
        await peer.send(request(INFER, b"", "transfer-encoding: chunked"))
        for _ in range(35):
            await peer.send(b"1\r\n \r\n" * 2000)

        answer = await peer.answer()
        assert answer.status == 413
        assert "pieces" in answer.json()["error"]


@pytest.mark.parametrize("head", [
    b"x-filler: " + b"a" * 300_000,
    b"".join(b"x-%d: a\r\n" % i for i in range(30_000)),
])  # fmt: skip
@pytest.mark.parametrize("path", [INFER, "/v2"])
async def test_a_flood_of_headers_is_refused(plane: DataPlane, peer: RawPeer, head: bytes, path: str) -> None:
    """431, long before memory is at stake; others are served meanwhile."""
    await peer.send(b"POST %s HTTP/1.1\r\nhost: h\r\n%s" % (path.encode(), head))

    assert (await peer.answer()).status == 431
    assert (await plane.infer([0, 0, 0, 0])).status_code == 200


async def test_an_endless_path_is_refused(peer: RawPeer) -> None:
    """The request line counts as head."""
    await peer.send(b"GET /v2/models/" + b"a" * 300_000)

    assert (await peer.answer()).status == 431
