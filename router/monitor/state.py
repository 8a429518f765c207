"""Everything that the monitor remembers, as plain values that turn into bytes and back. Pure.

One `ArmState` for each version and arm, one `VersionState` for each version. A successor that reads the bytes goes on
exactly where they were written; what was folded since is folded again from the streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Final, NamedTuple

import msgspec

from router.drift.excerpt import Excerpt
from router.drift.profile import Profile, decode_profile
from router.drift.verdict import ColumnState, WindowVerdict
from router.monitor.explanation import Explanation
from router.monitor.label_free_estimate import LabelFreeEstimate
from router.performance.adwin import AdwinState
from router.performance.alarm import AlarmState
from router.performance.baseline import Baseline, Task
from router.performance.escalation import LadderState
from router.performance.loss import Pair

#: Name of the set of versions that wait for an evaluation.
STIRRED_FIELD: Final = "stirred"
#: Name of the arm of all shadow answers of a version.
SHADOW_ARM: Final = "(shadow)"
#: Arms of one version beyond `MAX_ARMS` are not told apart any more: variants come and go by an operator's hand.
MAX_ARMS: Final = 64
OTHER_ARM: Final = "(other)"
#: Labelled rows of an arm that its metrics are measured on, at most: the latest.
MEASURED_ROWS: Final = 2000


Version = tuple[str, int]
"""Model and number."""


class Arm(NamedTuple):
    """One stream of answers that is judged by itself."""

    model: str
    version: int
    name: str
    """Of the variant, or `SHADOW_ARM`."""


class Slot(NamedTuple):
    """What a stretch of time amounts to."""

    pane: bytes
    """See `Pane.to_bytes`."""
    rows: Mapping[int, bytes] = {}
    """An excerpt."""


class Judged(NamedTuple):
    """A labelled row."""

    said: float
    """Score, class number or value."""
    truth: float
    sure: float = nan
    """Probability that the model gave to the true one of several classes; NaN where it gave none."""


class SecondOpinion(msgspec.Struct, kw_only=True):
    """What ADWIN makes of the losses that the alarm watches; shown, and nothing more."""

    window: AdwinState = AdwinState()
    changes: int = 0
    """So far."""
    last_change_at: int = 0
    """Losses seen by then."""
    mean_before: float = 0.0
    """Mean loss of the window that the last change cut, until then."""


class ArmState(msgspec.Struct, kw_only=True):
    """What was seen of one arm."""

    slots: dict[int, Slot] = {}
    """What may still grow, by slot of time."""
    window: Slot | None = None
    """Sum of the closed slots since the last verdict."""
    columns: dict[str, ColumnState] = {}
    verdict: WindowVerdict | None = None
    windows: int = 0
    """Judged so far."""
    explanation: Explanation | None = None
    """What the alarm that stands is about."""
    hint: LabelFreeEstimate = LabelFreeEstimate()
    """Performance as estimated without labels."""
    answers: int = 0
    """Records folded."""
    answered_at: float = 0.0
    """Unix seconds: end of the last slot with an answer."""
    retired: bool = False
    """No request reaches it any more: its verdicts are history, and begin anew should it come back."""
    alarm: AlarmState = AlarmState()
    second_opinion: SecondOpinion = msgspec.field(default_factory=SecondOpinion)
    pending: tuple[Pair, ...] = ()
    """Labelled rows of an unfinished block of pairs, see `loss`."""
    pairs: list[Judged] = []
    """The latest labelled rows."""
    labelled: int = 0
    """Answers with a label."""
    lag_total_s: float = 0.0
    """Sum over them of the time from answer to label."""

    def begin_anew(self) -> None:
        """Forget the verdicts and what led to them; what was measured of labels stays."""
        self.begin_drift_anew()
        self.hint = LabelFreeEstimate()
        self.alarm, self.second_opinion, self.pending = AlarmState(), SecondOpinion(), ()

    def begin_drift_anew(self) -> None:
        """Forget what windows have shown so far; those that are not full yet go on."""
        self.columns, self.verdict, self.explanation = {}, None, None


class Sample(NamedTuple):
    """One answer, as much of it as is counted."""

    inputs: bytes
    outputs: bytes
    at: float
    """Unix seconds of the request: its hour is what seasons are told by."""
    slot: int = 0
    lot: int = 0
    """See `excerpt`."""
    request_id: str = ""


class Stranger(NamedTuple):
    """An answer of a version of which there is no reference yet."""

    arm: str
    sample: Sample


class VersionState(msgspec.Struct, kw_only=True):
    """What was seen of one version."""

    refused: str = ""
    """Why the profile that came with the version is not used; empty when it is, or when none came."""
    sample: Sample | None = None
    """Its first answer, which profiles have to fit."""
    gathered: list[Stranger] = []
    gathered_rows: int = 0
    gathered_bytes: int = 0
    quiet: Excerpt = {}
    """Rows of windows without drift, for explanations of later ones."""
    first_labels: list[Judged] = []
    """Labelled rows of a version without baselines, until there are enough to make its own."""
    own_task: Task | None = None
    own_baselines: tuple[Baseline, ...] = ()
    ladder: LadderState = LadderState()

    def forget_gathered(self) -> None:
        """Drop the answers that a reference has been made of, or need not be made of."""
        self.gathered, self.gathered_rows, self.gathered_bytes = [], 0, 0


class LabelCounts(msgspec.Struct, kw_only=True):
    """What became of the labels of a model."""

    joined: int = 0
    duplicate: int = 0
    unknown: int = 0
    """No answer of that id, or one that has expired, or one of a version that cannot be judged by labels."""
    unsampled: int = 0
    """The answer is none of those that wait for labels, since the model gives more of them than fit."""
    invalid: int = 0
    """Not a label of this task."""


class Stored(NamedTuple):
    """A book as read back."""

    arms: dict[Arm, ArmState]
    versions: dict[Version, VersionState]
    labels: dict[str, LabelCounts]
    """By model."""
    profiles: dict[Version, Profile]
    stirred: set[Version]
    """Versions of which something new is known that no evaluation has taken."""


encode = msgspec.msgpack.Encoder().encode
_decode_arm = msgspec.msgpack.Decoder(ArmState).decode
_decode_version = msgspec.msgpack.Decoder(VersionState).decode
_decode_counts = msgspec.msgpack.Decoder(LabelCounts).decode
_decode_stirred = msgspec.msgpack.Decoder(set[Version]).decode


def read_stored(fields: Mapping[str, bytes]) -> Stored:
    """Read what was stored, field by field; fields of others are passed over."""
    found = Stored({}, {}, {}, {}, set())
    for name, data in fields.items():
        kind, *parts = name.split(" ", 3)
        match kind, parts:
            case "arm", [model, version, arm]:
                found.arms[Arm(model, int(version), arm)] = _decode_arm(data)
            case "version", [model, version]:
                found.versions[model, int(version)] = _decode_version(data)
            case "labels", [model]:
                found.labels[model] = _decode_counts(data)
            case "profile", [model, version]:
                found.profiles[model, int(version)] = decode_profile(data)
            case "stirred", []:
                found.stirred.update(_decode_stirred(data))
    return found


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
