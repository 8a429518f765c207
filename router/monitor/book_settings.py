"""How versions are judged, all of it in one place. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from router.drift.verdict import DriftSettings
from router.monitor import drift
from router.performance.alarm import AlarmSettings
from router.performance.escalation import LadderSettings


class BookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How versions are judged."""

    window: drift.WindowSettings = drift.WindowSettings()
    drift: DriftSettings = DriftSettings()
    alarm: AlarmSettings = AlarmSettings()
    ladder: LadderSettings = LadderSettings()
    reference_rows: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Rows of which a version without a profile makes its own reference."""
    baseline_labels: Annotated[int, msgspec.Meta(ge=2)] = 500
    """Labelled rows of which such a version makes its own baselines."""
