"""Log and trace settings as Triton's clients read and write them, for both doors.

They are what the gateway was started with. A router is one of several behind a port and cannot change the others, and
none of this has a credential: so they can be read, and written back as they are, and every change is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from router.gateway.catalogue import Catalogue
from serving.protocol.errors import ErrorKind, ServingError, invalid

_LEVELS: Final = ("error", "warning", "info", "debug")
_TRACE: Final[dict[str, Any]] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}


class LogTraceSettings:
    """What is in force."""

    def __init__(self, log_level: str, catalogue: Catalogue) -> None:
        rank = _LEVELS.index(log_level)
        self._catalogue = catalogue
        self._log: dict[str, Any] = {
            "log_file": "",
            "log_info": rank >= _LEVELS.index("info"),
            "log_warning": rank >= _LEVELS.index("warning"),
            "log_error": True,
            "log_verbose_level": int(log_level == "debug"),
            "log_format": "default",
        }

    def log_settings(self) -> dict[str, Any]:
        """Show the log settings."""
        return dict(self._log)

    def change_log_settings(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Accept settings that are so already.

        Raises:
            ServingError: INVALID for a name that is none, UNSUPPORTED for a change.
        """
        for name, value in wanted.items():
            if name not in self._log:
                raise invalid(f'"{name[:64]}" is not a log setting; they are {", ".join(self._log)}')
            if value != self._log[name]:
                raise ServingError(
                    ErrorKind.UNSUPPORTED, f"{name}: the log is set up at start; restart with the setting log_level"
                )
        return self.log_settings()

    def trace_settings(self, model: str) -> dict[str, Any]:
        """Show the trace settings, which are the same for every model.

        Raises:
            ServingError: NOT_FOUND for an unknown model.
        """
        if model:
            self._catalogue.check_known(model, None)
        return dict(_TRACE)

    def change_trace_settings(self, model: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Accept settings that are so already; None, or nothing, stands for the default.

        Raises:
            ServingError: NOT_FOUND, INVALID for a name that is none, UNSUPPORTED for a change.
        """
        settings = self.trace_settings(model)
        for name, value in wanted.items():
            if name not in settings:
                raise invalid(f'"{name[:64]}" is not a trace setting; they are {", ".join(settings)}')
            if value not in (None, [], settings[name], [settings[name]]):
                raise ServingError(
                    ErrorKind.UNSUPPORTED, f"{name}: tracing is not offered here; every answer names its decision"
                )
        return settings
