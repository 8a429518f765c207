"""Everything that the monitor remembers, as plain values that turn into bytes and back. Pure.

One `ArmState` for each version and arm, one `VersionState` for each version. A successor that reads the bytes goes on
exactly where they were written; what was folded since is folded again from the streams.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from router.drift.verdict import ColumnState, WindowVerdict
from router.performance.alarm import AlarmState
from router.performance.ladder import LadderState
from router.performance.loss import Pair

#: Name of the arm of all shadow answers of a version.
SHADOW_ARM: Final = "(shadow)"
#: Labelled rows of an arm that its metrics are measured on, at most: the latest.
MEASURED_ROWS: Final = 2000


class Arm(NamedTuple):
    """One stream of answers that is judged by itself."""

    model: str
    version: int
    name: str
    """Of the variant, or `SHADOW_ARM`."""


class ArmState(msgspec.Struct, kw_only=True):
    """What was seen of one arm."""

    slots: dict[int, bytes] = {}
    """Panes that may still grow, by slot of time: see `Pane.to_bytes`."""
    window: bytes = b""
    """Sum of the closed panes since the last verdict; empty when there are none."""
    columns: dict[str, ColumnState] = {}
    verdict: WindowVerdict | None = None
    windows: int = 0
    """Judged so far."""
    answers: int = 0
    """Records folded."""
    alarm: AlarmState = AlarmState()
    pending: tuple[Pair, ...] = ()
    """Labelled rows of an unfinished block of pairs, see `loss`."""
    pairs: list[Pair] = []
    """The latest labelled rows."""
    labelled: int = 0
    """Answers with a label."""
    lag_total_s: float = 0.0
    """Sum over them of the time from answer to label."""


class Sample(NamedTuple):
    """One answer, kept until there are enough for a reference."""

    inputs: bytes
    outputs: bytes
    at: float


class VersionState(msgspec.Struct, kw_only=True):
    """What was seen of one version."""

    refused: str = ""
    """Why the profile that came with the version is not used; empty when it is, or when none came."""
    sample: Sample | None = None
    """Its first answer, which profiles have to fit."""
    gathered: list[Sample] = []
    gathered_rows: int = 0
    ladder: LadderState = LadderState()


class LabelCounts(msgspec.Struct, kw_only=True):
    """What became of the labels of a model."""

    joined: int = 0
    duplicate: int = 0
    unknown: int = 0
    """No answer of that id, or one that has expired, or one of a version that cannot be judged by labels."""
    invalid: int = 0
    """Not a label of this task."""


encode = msgspec.msgpack.Encoder().encode
decode_arm = msgspec.msgpack.Decoder(ArmState).decode
decode_version = msgspec.msgpack.Decoder(VersionState).decode
decode_counts = msgspec.msgpack.Decoder(LabelCounts).decode


def arm_field(arm: Arm) -> str:
    """Name an arm's state; neither models nor variants have a space in their names."""
    return f"arm {arm.model} {arm.version} {arm.name}"


def version_field(model: str, version: int) -> str:
    """Name a version's state."""
    return f"version {model} {version}"


def labels_field(model: str) -> str:
    """Name a model's counts of labels."""
    return f"labels {model}"


def profile_field(model: str, version: int) -> str:
    """Name the reference profile that a version is held against."""
    return f"profile {model} {version}"
