"""Names, versions, methods and paths: what is served, and a clean refusal for the rest."""

from __future__ import annotations

import pytest

from tests.data_plane import MODEL, DataPlane
from tests.raw_http import RawPeer, echoed, infer_body, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"


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
