"""What control and a shared host tell each other, as small files: who is to be a guest, and how each guest does.

Files, and not calls, since both must outlive the other: a host that comes back finds its guests while control is away,
and control that comes back finds what it had decided.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from serving.atomic_file import replace_file
from serving.deployment.spec import VersionSpec
from serving.protocol.messages import Signature

GuestState = Literal["cold", "loading", "loaded", "failed"]

_GUESTS: Final = "host-{}.guests.json"
_REPORT: Final = "host-{}.report.json"
_MARKS: Final = "host-{}.marks"
T = TypeVar("T")


class Guest(msgspec.Struct, frozen=True):
    """A version that is to live in a host."""

    spec: VersionSpec
    model_bytes: int
    signature: Signature
    """As proven before it was let in, so that it is known while the guest is cold."""
    kept: bool = False
    """It must not go cold; see `eviction.Residence`."""
    asked_at: float = 0.0
    """When somebody last asked for it to be loaded; Unix seconds."""


class GuestReport(msgspec.Struct, frozen=True):
    """How one guest does."""

    state: GuestState
    reason: str = ""
    """Why its last load failed."""
    final: bool = False
    """Another attempt would fail the same way."""
    load_s: float = 0.0
    facts: dict[str, str | int | float] = {}
    """How its model is run, as last loaded."""


class HostReport(msgspec.Struct, frozen=True):
    """How a host does."""

    pid: int = 0
    guests: dict[str, GuestReport] = {}
    """By name."""
    suspects: tuple[str, ...] = ()
    """Guests that were at work when the host's process died: they are not let in any more."""


def guest_name(model: str, version: int) -> str:
    """Name a guest, as its connections do in their hello."""
    return f"{model}/{version}"


class HostFiles:
    """The files of one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._dir = run_dir

    def write_guests(self, host: int, guests: list[Guest]) -> None:
        """Control: replace a host's list; an empty one removes the host's files."""
        if guests:
            _write(self._dir / _GUESTS.format(host), guests)
            return
        for pattern in (_GUESTS, _REPORT, _MARKS):
            (self._dir / pattern.format(host)).unlink(missing_ok=True)

    def read_guests(self, host: int) -> list[Guest]:
        """Read a host's list; empty when it has none."""
        return _read(self._dir / _GUESTS.format(host), list[Guest]) or []

    def stamp(self, host: int) -> int:
        """Tell one state of a host's list from the next without reading it; 0 when there is none."""
        try:
            return (self._dir / _GUESTS.format(host)).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def hosts(self) -> list[int]:
        """List the hosts that have guests."""
        first, last = _GUESTS.split("{}")
        names = (path.name.removeprefix(first).removesuffix(last) for path in self._dir.glob(_GUESTS.format("*")))
        return sorted(int(name) for name in names if name.isdecimal())

    def write_report(self, host: int, report: HostReport) -> None:
        """Host: say how all is."""
        _write(self._dir / _REPORT.format(host), report)

    def read_report(self, host: int) -> HostReport:
        """Read what a host last said; empty when it has said nothing yet."""
        return _read(self._dir / _REPORT.format(host), HostReport) or HostReport()

    def marks(self, host: int) -> Path:
        """Name the file of a host's marks."""
        return self._dir / _MARKS.format(host)


def _write(path: Path, value: Any) -> None:
    replace_file(path, msgspec.json.encode(value, enc_hook=str))


def _read(path: Path, form: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=form, dec_hook=lambda kind, value: kind(value))
    except FileNotFoundError:
        return None
