"""How a key is presented, and what is kept of it."""

from __future__ import annotations

import pytest

from router.access.key import ApiKey, KeyRejection, KeyRing, bearer_token, digest_of, take_secret
from router.access.scope import EVERYTHING


@pytest.mark.parametrize(
    ("headers", "secret", "left"),
    [
        ({}, "", {}),
        ({"x-api-key": "s"}, "s", {}),
        ({"authorization": "Bearer s"}, "s", {}),
        ({"authorization": "bearer  s "}, "s", {}),
        ({"authorization": "Basic YTpi"}, "", {"authorization": "Basic YTpi"}),
        ({"x-api-key": "s", "authorization": "Bearer t"}, "s", {"authorization": "Bearer t"}),
        ({"x-api-key": "", "authorization": "Bearer t"}, "t", {}),
    ],
)
def test_a_secret_leaves_the_headers_that_brought_it(
    headers: dict[str, str], secret: str, left: dict[str, str]
) -> None:
    """So that nothing after the check can log it; `x-api-key` goes first and leaves a token for control alone."""
    assert take_secret(headers) == secret
    assert headers == left


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "s", "Token s", "Bearers s"])
def test_what_is_no_bearer_token_is_none(header: str) -> None:
    """An empty one, another scheme."""
    assert bearer_token(header) == ""


def test_an_endless_secret_is_unknown_unread() -> None:
    """Hashing is for secrets that could be ours."""
    endless = "x" * 10_000
    assert KeyRing([ApiKey("k", EVERYTHING, digest_of(endless), 0.0)]).find(endless, 0.0) is KeyRejection.UNKNOWN


def test_a_description_has_no_digest() -> None:
    """It goes into lists and the audit log."""
    assert digest_of("secret") not in str(ApiKey("k", EVERYTHING, digest_of("secret"), 0.0).describe())
