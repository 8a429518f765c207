"""Looks at start whether a registry elsewhere answers; a gateway without it still serves what it has."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

_PATIENCE_S: Final = 2.0


def registry_trouble(uri: str | None) -> str | None:
    """Say in one line what is wrong with a tracking server and what to do; None for one that answers, or is here."""
    if uri is None or not uri.startswith("http"):
        return None
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_PATIENCE_S):  # noqa: S310 - http(s), see above
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        parts = urlsplit(uri)
        reason = getattr(error, "reason", error)
        return (
            f"the registry at {parts.hostname}:{parts.port or parts.scheme} does not answer ({reason}): versions "
            "that were loaded before are served, but no new ones. Start it, or correct --registry"
        )
