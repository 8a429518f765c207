"""Makes secrets: 256 random bits each."""

from __future__ import annotations

import secrets


def new_secret(prefix: str) -> str:
    """Make a secret that begins with `prefix`, so that whoever finds it in the wrong place knows what it is."""
    return prefix + secrets.token_urlsafe(32)
