"""Webhooks: only where allowed, signed, and never led elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from router.adapters.webhook import AllowList, WebhookRefused, Webhooks, ensure_secret
from tests.admin import serving

pytestmark = pytest.mark.asyncio


class Receiver:
    """A server that remembers what it was sent."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.app = Starlette(
            routes=[
                Route("/ok", self._take, methods=["POST"]),
                Route("/no", lambda _: Response(status_code=403), methods=["POST"]),
                Route("/away", lambda _: RedirectResponse("/ok", 307), methods=["POST"]),
            ]
        )

    async def _take(self, request: Request) -> Response:
        self.headers, self.body = dict(request.headers), await request.body()
        return Response(status_code=204)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with serving(receiver.app) as address:
        yield address


async def post(url: str, allowed: tuple[str, ...], secret: bytes = b"s3cret") -> bool:
    body: dict[str, Any] = {"kind": "event"}
    status = await Webhooks(allowed, secret).post(url, body, delivery="d1", at=1000.7, timeout_s=5.0)
    return status < 300


async def test_a_post_is_signed_over_delivery_time_and_body(receiver: Receiver, url: str) -> None:
    """So that it can be neither forged nor sent again later."""
    assert await post(f"{url}/ok", ("127.0.0.1",))
    expected = hmac.new(b"s3cret", b"d1.1000." + receiver.body, hashlib.sha256).hexdigest()
    assert receiver.headers["x-shepherd-signature"] == f"sha256={expected}"
    assert receiver.headers["host"] in url


@pytest.mark.parametrize("path", ["no", "away"])
async def test_a_refusal_and_a_redirect_confirm_nothing(receiver: Receiver, url: str, path: str) -> None:
    """A redirect is not followed."""
    assert not await post(f"{url}/{path}", ("127.0.0.1",))
    assert receiver.body == b""


@pytest.mark.parametrize("allowed", [(), ("hooks.example",), ("10.0.0.0/8",)])
async def test_a_host_that_is_not_listed_is_not_called(url: str, allowed: tuple[str, ...]) -> None:
    """By default nothing is listed."""
    with pytest.raises(WebhookRefused, match="webhook_hosts"):
        await post(f"{url}/ok", allowed)


async def test_a_listed_name_that_leads_inside_is_not_called(url: str) -> None:
    """The address must be listed too: names are somebody else's to change."""
    inside = url.replace("127.0.0.1", "localhost")
    with pytest.raises(WebhookRefused, match="inside a network"):
        await post(f"{inside}/ok", ("localhost",))
    assert await post(f"{inside}/ok", ("localhost", "127.0.0.0/8", "::1"))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
async def test_no_address_inside_a_network_passes_unlisted(address: str) -> None:
    """Loopback, private, link-local, and IPv4 in IPv6's clothes."""
    with pytest.raises(WebhookRefused):
        AllowList(["hooks.example"]).check_address("hooks.example", ipaddress.ip_address(address))


async def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """Receivers keep a copy, so it must not change."""
    path = tmp_path / "webhook.secret"
    secret = ensure_secret(path)
    assert ensure_secret(path) == secret
    assert len(secret) == 64
    assert path.stat().st_mode & 0o777 == 0o600
