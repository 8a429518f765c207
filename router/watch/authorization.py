"""The secret that a receiver asks for: from a setting, or from a file that is read anew for each call."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 16 << 10


class Authorization:
    """The value of one Authorization header. It stands in no message and no log."""

    def __init__(self, value: str | None = None, file: Path | None = None) -> None:
        self._value = value
        self._file = file

    def __repr__(self) -> str:
        return f"<Authorization from {self._file or 'a setting'}>"

    def read(self) -> str | None:
        """Return the value; None when there is nothing to show.

        Raises:
            OSError: the file cannot be read, or what was given cannot stand in a header.
        """
        if self._file is None and self._value is None:
            return None
        value = self._value or ""
        if self._file is not None:
            with self._file.open("rb") as file:
                value = file.read(_MAX_BYTES).decode("latin-1")
        value = value.strip()
        if not value or not value.isascii() or not value.isprintable():
            raise OSError(f"{self._file or 'retrain_authorization'}: is not a valid value for an Authorization header")
        return value
