"""Shadow reports on disk: each router replaces its own file, readers add all of them up.

A report outlives its router, as a counter would. Files that nobody has written for `KEPT_S` are removed by the writer
of another.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from router.analysis.shadow_report import ShadowReport
from serving.atomic_file import replace_file

#: A week: longer than any comparison is of interest.
KEPT_S: Final = 7 * 24 * 3600.0
_SUFFIX: Final = ".shadows"

Reports = dict[str, dict[int, ShadowReport]]
"""By model, then by shadowed version."""

_decode = msgspec.msgpack.Decoder(Reports).decode
_encode = msgspec.msgpack.Encoder().encode


class ShadowFolder:
    """The reports of one node, kept below its metrics."""

    def __init__(self, metrics_dir: Path) -> None:
        self._folder = metrics_dir / "shadows"

    def __repr__(self) -> str:
        return f"<ShadowFolder {self._folder}>"

    def write(self, router: str, reports: Reports) -> None:
        """Replace a router's file, and remove those of long ago.

        Raises:
            OSError: the disk refuses; the former file stands.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._folder / f"{router}{_SUFFIX}", _encode(reports))
        oldest = time.time() - KEPT_S
        for other in self._folder.glob(f"*{_SUFFIX}*"):
            with suppress(FileNotFoundError):  # its router has replaced it, or another one removed it, just now
                if other.stat().st_mtime < oldest:
                    other.unlink()

    def shadow_reports(self, model: str) -> dict[int, ShadowReport]:
        """Add up what all routers have seen of a model's shadows; files that cannot be read are passed over."""
        found: dict[int, ShadowReport] = {}
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                reports = _decode(path.read_bytes()).get(model, {})
            except (OSError, msgspec.DecodeError):
                continue
            for version, report in reports.items():
                found[version] = found.get(version, ShadowReport()) + report
        return found
