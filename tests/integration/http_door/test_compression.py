"""Bodies that come compressed, and answers that leave so."""

from __future__ import annotations

import json
import zlib

import pytest

from tests.data_plane import MODEL
from tests.raw_http import RawPeer, echoed, infer_body, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"


def deflated(data: bytes, window: int) -> bytes:
    stream = zlib.compressobj(wbits=window)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "window"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15), ("GZIP", 31)]
)
async def test_a_compressed_body_is_expanded(peer: RawPeer, coding: str, window: int) -> None:
    """Gzip, zlib and the bare stream that many clients call deflate."""
    await peer.send(request(INFER, deflated(infer_body(5, 0, 0, 0), window), f"content-encoding: {coding}"))

    assert (await echoed(peer))[0] == 5


@pytest.mark.parametrize(
    ("body", "coding", "status", "words"),
    [
        (deflated(b" " * 10_000_000, 31), "gzip", 413, "grows beyond 65536 bytes"),
        (deflated(b" " * 10_000_000, 15), "deflate", 413, "grows beyond 65536 bytes"),
        (deflated(b"", 31) * 3000, "gzip", 400, "empty part"),
        (deflated(infer_body(1), 31)[:-9], "gzip", 400, "ends too early"),
        (b"this is not compressed", "gzip", 400, "not gzip"),
        (infer_body(1), "br", 400, '"br" is not one of gzip, deflate'),
        (infer_body(1), "gzip, gzip", 400, "is not one of"),
    ],
    ids=["bomb", "zlib bomb", "empty members", "cut off", "plain", "unknown", "twice"],
)
async def test_a_body_that_cannot_be_expanded_is_refused(
    peer: RawPeer, body: bytes, coding: str, status: int, words: str
) -> None:
    """A bomb is bounded by what it grows to; the connection goes on."""
    await peer.send(request(INFER, body, f"content-encoding: {coding}"))

    answer = await peer.answer()
    assert answer.status == status
    assert words in answer.json()["error"]
    assert await peer.is_open()


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, gzip;q=0, deflate", "deflate"),
        ("*", "gzip"),
        ("br", ""),
        ("gzip;q=0", ""),
    ],
)
async def test_a_large_answer_is_compressed_as_the_client_accepts(peer: RawPeer, accepted: str, coding: str) -> None:
    """From a kilobyte on; a small one stays as it is."""
    many = {"name": "x", "shape": [500, 4], "datatype": "FP32", "data": [1.5] * 2000}
    body = json.dumps({"inputs": [many]}).encode()
    await peer.send(request(INFER, body, f"accept-encoding: {accepted}"))
    large = await peer.answer()
    await peer.send(request(INFER, infer_body(1, 2, 3, 4), f"accept-encoding: {accepted}"))
    small = await peer.answer()

    assert large.headers.get("content-encoding", "") == coding
    plain = zlib.decompress(large.body, 47) if coding else large.body
    assert json.loads(plain)["outputs"][0]["data"] == [1.5] * 2000
    assert "content-encoding" not in small.headers
