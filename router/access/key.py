"""Keys as the gateway knows them: a name, a scope, and the digest of a secret that only its owner has. Pure.

A secret is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess. Secrets are found by their
digest, never compared: whoever tries one cannot steer its digest, so the time that a search takes tells them nothing.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

from router.access.scope import Scope

KEY_HEADER: Final = "x-api-key"
SECRET_PREFIX: Final = "shk_"  # noqa: S105 - what makes a secret found in the wrong place recognisable
#: Longer than any secret of ours; of more, not even the digest is taken.
_MAX_SECRET_CHARS: Final = 256


class ApiKey(msgspec.Struct, frozen=True):
    """A key of the data plane."""

    name: str
    """Who it is for."""
    scope: Scope
    sha256: str
    """`digest_of` its secret."""
    created_at: float
    """Unix seconds, as all times here."""
    expires_at: float | None = None
    """From when on it is refused; None: never."""

    def describe(self) -> dict[str, Any]:
        """Show everything but the digest, in JSON types."""
        return {
            "name": self.name,
            "models": list(self.scope.models),
            "actions": sorted(self.scope.actions),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        }


class KeySnapshot(msgspec.Struct, frozen=True):
    """All keys at one moment."""

    epoch: int
    """Grows with every change; a router never goes back to a smaller one."""
    keys: tuple[ApiKey, ...] = ()


class KeyRejection(enum.StrEnum):
    """Why a call has no known key."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


class KeyRing:
    """Keys that can be found by their secrets."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_digest: Mapping[str, ApiKey] = {key.sha256: key for key in keys}

    def find(self, secret: str, now: float) -> ApiKey | KeyRejection:
        """Find the key of a secret; empty stands for none presented."""
        if not secret:
            return KeyRejection.MISSING
        key = self._by_digest.get(digest_of(secret)) if len(secret) <= _MAX_SECRET_CHARS else None
        if key is None:
            return KeyRejection.UNKNOWN
        return KeyRejection.EXPIRED if key.expires_at is not None and now >= key.expires_at else key


def digest_of(secret: str) -> str:
    """Hash a secret: SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer_token(authorization: str) -> str:
    """Take the token out of an `authorization` header (RFC 6750, 2.1); empty when it holds none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def take_secret(headers: MutableMapping[str, str]) -> str:
    """Take the secret out of a request's headers (lower-case names), so that nothing after this sees it.

    `x-api-key` goes first and leaves `authorization` alone, which may then hold a token of the admin API.
    """
    presented = headers.pop(KEY_HEADER, "")
    if presented:
        return presented
    token = bearer_token(headers.get("authorization", ""))
    if token:
        del headers["authorization"]
    return token
