"""HTTP/1.1 as the door speaks it: framing, order, limits, slow and vanishing clients, clean refusals."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from serving.backends.echo import EchoBackend, EchoOptions
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.raw_http import RawPeer, chunked, infer_body, raw_peer, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"
ONE = [{"name": "stable", "version": 1, "weight": 10_000}]


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router with one echo version, patient for a second and a body of 64 KiB."""
    limits: dict[str, Any] = {"request_timeout_s": 1, "keep_alive_s": 1, "max_body_bytes": 64 * 1024}
    async with running_data_plane(f"unix://{valkey_socket}", **limits) as running:
        await running.add_replica(1, EchoBackend())
        await running.set_policy(variants=ONE)
        yield running


@pytest_asyncio.fixture
async def peer(plane: DataPlane) -> AsyncIterator[RawPeer]:
    """One connection to it."""
    async with raw_peer(plane.settings.http_port) as connected:
        yield connected


async def echoed(peer: RawPeer) -> list[float]:
    answer = await peer.answer()
    assert answer.status == 200, answer.body
    values: list[float] = answer.json()["outputs"][0]["data"]
    return values


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── framing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── compression ──────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_idle_connection_is_closed(peer: RawPeer) -> None:
    """After `keep_alive_s`, before and after a request."""
    await peer.send(request("/v2/health/live", method="GET"))
    assert (await peer.answer()).status == 200

    assert await peer.is_closed()


@pytest.mark.parametrize("start", [
    b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: h\r\nx-slow",
    request(INFER, b"{", "content-length: 100"),
    request("/v2/repository/index", b"{", "content-length: 100"),
])  # fmt: skip
async def test_a_request_that_trickles_in_is_ended_and_blocks_nobody(
    plane: DataPlane, peer: RawPeer, start: bytes
) -> None:
    """408 although a byte comes now and then: patience is for the whole request (slowloris)."""
    await peer.send(start)

    async def trickle() -> None:
        while True:
            await asyncio.sleep(0.2)
            await peer.send(b"a")

    trickling = asyncio.create_task(trickle())
    assert (await plane.infer([0, 0, 0, 0])).status_code == 200
    answer = await peer.answer()
    trickling.cancel()

    assert answer.status == 408
    assert answer.headers["connection"] == "close"


async def test_a_client_that_does_not_read_blocks_nobody(plane: DataPlane) -> None:
    """Its answers wait in its own socket while others are served."""
    async with raw_peer(plane.settings.http_port) as deaf:
        await deaf.send(*[request(INFER, infer_body(*range(4))) for _ in range(200)])
        assert (await plane.infer([1, 2, 3, 4])).json()["outputs"][0]["data"] == [1, 2, 3, 4]


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(plane: DataPlane) -> None:
    """No call, no record, no connection."""
    async with raw_peer(plane.settings.http_port) as peer:
        await peer.send(request(INFER, b'{"inputs"', "content-length: 1000"))
    assert (await plane.infer([0, 0, 0, 0])).status_code == 200

    assert plane.gateway.in_flight == 0
    assert len(plane.records()) == 1


async def test_closing_answers_what_is_in_flight(valkey_socket: Path) -> None:
    """A stopping router finishes each exchange, pipelined ones included, and says `connection: close`."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        await plane.add_replica(1, EchoBackend(EchoOptions(delay_ms=100)))
        await plane.set_policy(variants=ONE)
        async with raw_peer(plane.settings.http_port) as peer:
            await peer.send(request(INFER, infer_body(1, 0, 0, 0)) + request(INFER, infer_body(2, 0, 0, 0)))
            while not plane.gateway.in_flight:
                await asyncio.sleep(0.001)
            closing = asyncio.create_task(plane.gateway._http.close())

            answers = [await peer.answer(), await peer.answer()]
            assert [answer.status for answer in answers] == [200, 200]
            assert await peer.is_closed()
            await closing


# ── names and methods ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_percent_encoded_name_is_the_name(peer: RawPeer) -> None:
    """`%6d` is `m` on both paths."""
    await peer.send(request("/v2/models/%6d/infer", infer_body(9, 0, 0, 0)))
    assert (await echoed(peer))[0] == 9

    await peer.send(request("/v2/models/%6d/ready", method="GET"))
    assert (await peer.answer()).status == 200


@pytest.mark.parametrize("name", [
    "..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..", "m%2finfer", "m%00", "%ff", "%25%32%65", "a" * 200,
    "m%0d%0aset-cookie:x", "-m", "m;x", "m%20",
])  # fmt: skip
@pytest.mark.parametrize("form", ["/v2/models/{}/infer", "/v2/models/{}/versions/1/infer"])
async def test_a_name_that_no_model_can_have_is_not_found(peer: RawPeer, name: str, form: str) -> None:
    """No traversal, no injection, no 500."""
    await peer.send(request(form.format(name), infer_body(0, 0, 0, 0)))

    answer = await peer.answer()
    assert answer.status == 404
    assert "set-cookie" not in answer.headers
    assert await peer.is_open()


@pytest.mark.parametrize("version", ["0x1", "-1", "1.0", "latest", "9" * 30, "%31%32%33x", "٣"])
async def test_a_version_that_is_no_number_is_not_found(plane: DataPlane, version: str) -> None:
    """Versions are numbers."""
    answer = await plane.client.post(f"/v2/models/{MODEL}/versions/{version}/infer", content=infer_body(0, 0, 0, 0))

    assert answer.status_code == 404
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", INFER, "POST"),
        ("HEAD", INFER, "POST"),
        ("DELETE", INFER, "POST"),
        ("POST", "/v2", "GET, HEAD"),
        ("PUT", f"/v2/models/{MODEL}", "GET, HEAD"),
        ("POST", "/v2/health/live", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(plane: DataPlane, method: str, path: str, allow: str) -> None:
    """405 with Allow."""
    answer = await plane.client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_head_is_get_without_the_body(peer: RawPeer) -> None:
    """The same headers, length included."""
    await peer.send(request("/v2", method="GET"), request("/v2", method="HEAD"))

    whole, head = await peer.answer(), await peer.answer(to_head=True)
    assert head.headers["content-length"] == str(len(whole.body)) != "0"
    assert await peer.is_open()


@pytest.mark.parametrize(
    "path", ["/", "/v3", "/v2/models", "/v2/models//infer", "/v2/models/m/nothing", "//v2", "/v2/../v2"]
)
async def test_other_paths_are_not_found(peer: RawPeer, path: str) -> None:
    """404 in JSON."""
    await peer.send(request(path, method="GET"))

    answer = await peer.answer()
    assert answer.status == 404
    assert answer.json()["error"]


async def test_a_query_does_not_hide_an_inference(peer: RawPeer) -> None:
    """What comes after `?` is ignored."""
    await peer.send(request(INFER + "?trace=1", infer_body(3, 0, 0, 0)))

    assert (await echoed(peer))[0] == 3
