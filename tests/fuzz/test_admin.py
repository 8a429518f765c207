"""Whatever an operator's broken script sends, the admin API blames it: the quick part of what `make fuzz` does."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute

from router.admin import api
from tests.admin import MODEL, AdminWorld
from tests.fuzz.mutation import mutants

pytestmark = pytest.mark.asyncio

_COUNT: Final = 120
_NAMES: Final = (MODEL, "none", "..", "%", "a" * 200, "a/b", "\x00", "é", "-1", "0", "1", "9" * 40, "NaN", "page.css")
_BODIES: Final = (
    (
        b'{"variants":[{"name":"stable","version":1,"weight":9000},{"name":"canary","version":2,"weight":1000}],'
        b'"sticky":{"by":"header","name":"x-user"},"shadows":[{"version":2,"sample":2000}],"reason":"r"}'
    ),
    b'{"version":2,"steps":[100,10000],"min_requests":10,"min_time_s":1.5,"checks":[],"reason":"r"}',
    b'{"headers":{"x-user":"7"},"parameters":{"k":1}}',
    b'{"onnx":"CAp4","example":{"inputs":[]},"tags":{"git":"abc"}}',
    b'{"name":"ada","role":"operator","reason":"r"}',
    b'{"changes":[{"model":"flight-delay","policy":null,"revision":1}],"revision":1,"reason":"r"}',
    b"[" * 50_000,
    b'{"example":' + b"[" * 50_000,
)
_HEADERS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"If-None-Match": "*"},
    {"If-Match": '"1"'},
    {"If-Match": '"\xff, 9999999999999999999"'},
    {"Idempotency-Key": "k"},
    {"X-Shepherd-Reason": ""},
)
ROUTES: Final = [
    (method, route.path)
    for router in api.ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_request_makes_the_admin_api_fail(tmp_path: Path, method: str, path: str) -> None:
    """Damaged bodies, hostile names and preconditions, over every operation: never a 5xx."""
    world = AdminWorld(tmp_path)
    names, headers = itertools.cycle(_NAMES), itertools.cycle(_HEADERS)
    async with world.client() as client:
        for body in mutants(_BODIES, seed=2, count=_COUNT):
            url = path.format_map({name: quote(next(names), safe="") for name in ("model", "version", "name")})
            content = body if method in {"POST", "PUT", "PATCH"} else b""
            sent = {"Content-Type": "application/json", **next(headers)} if content else next(headers)
            encoded = {name.encode(): value.encode("latin-1") for name, value in sent.items()}
            answer = await client.request(method, url, content=content, headers=encoded)
            assert answer.status_code < 500, (url, sent, body[:200], answer.text)
