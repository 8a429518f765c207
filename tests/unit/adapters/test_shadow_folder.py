"""Reports of several routers in one folder, each of which comes and goes as it likes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from router.adapters.files.shadow_folder import KEPT_S, ShadowFolder
from router.analysis.shadow_report import Comparison, ShadowReport

REPORT = ShadowReport(shadow=Comparison(answers=1))


def test_a_file_that_goes_while_the_folder_is_tidied_is_no_failure(tmp_path: Path) -> None:
    """Another router replaces its own at any time; a link to nothing is listed and cannot be looked at either."""
    folder = ShadowFolder(tmp_path)
    folder.write("first", {})
    (tmp_path / "shadows" / ".second.shadows.tmp").symlink_to("gone")

    folder.write("first", {"m": {3: REPORT}})

    assert folder.shadow_reports("m") == {3: REPORT}


def test_what_nobody_has_written_for_long_is_removed(tmp_path: Path) -> None:
    """By the writer of another."""
    folder = ShadowFolder(tmp_path)
    folder.write("old", {"m": {3: REPORT}})
    long_ago = time.time() - KEPT_S - 1.0
    os.utime(tmp_path / "shadows" / "old.shadows", (long_ago, long_ago))

    folder.write("new", {})

    assert folder.shadow_reports("m") == {}
