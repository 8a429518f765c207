"""What of the settings nobody is shown: not by commands, not in errors, not in logs. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

#: Settings that are neither shown nor flags, which every user of the machine could read.
SECRET_KEYS: Final = frozenset({"retrain_authorization"})
_CREDENTIALS: Final = re.compile(r"(?<=://)([^/?#:]*:)?[^/?#]*@")


def masked(key: str, value: Any) -> Any:
    """Mask a secret, and in URLs passwords and what stands there without a user; all else stays as it is."""
    if key in SECRET_KEYS:
        return None if value is None else "***"
    if isinstance(value, (tuple, list)):
        return type(value)(masked(key, each) for each in value)
    return _CREDENTIALS.sub(r"\1***@", value) if isinstance(value, str) else value
