"""Whose fault an outcome is, as far as it is held against a version. Pure."""

from __future__ import annotations

from typing import Final

from serving.protocol.errors import ErrorKind
from serving.telemetry.catalog import OK


def _outcomes(*kinds: ErrorKind) -> frozenset[str]:
    return frozenset(kind.name.lower() for kind in kinds)


#: The client's own, or of too much traffic at once. A call that was sent to one version says nothing of it by these: no
#: other version has its counterpart. Of requests that a split deals out they hit all versions alike.
CLIENT_FAULTS: Final = _outcomes(
    ErrorKind.INVALID,
    ErrorKind.TOO_LARGE,
    ErrorKind.UNSUPPORTED,
    ErrorKind.CANCELLED,
    ErrorKind.OVERLOADED,
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN,
    ErrorKind.UNFINISHED,
)
#: A copy that came too late to be compared: shadows get what time primaries leave.
LATE: Final = ErrorKind.DEADLINE.name.lower()
#: How a copy may end without a fault of its version. Not with `invalid`: its original fitted the version that serves.
EXCUSED_COPIES: Final = frozenset({OK, LATE}) | _outcomes(ErrorKind.OVERLOADED, ErrorKind.CANCELLED)
