"""The book: every version and arm that the monitor knows, and where records and labels are entered. Pure.

The book is changed in memory, and names each part that has changed; the shell stores those together with the
acknowledgement of what they came from. So a book that is read back is never ahead of the streams, nor behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from router.drift.binning import Binner
from router.drift.profile import Profile, decode_profile, encode_profile
from router.drift.verdict import DriftSettings
from router.monitor import drift, labels
from router.monitor.incident import Transition, evidence_of, transition
from router.monitor.labels import Pairing, Prediction
from router.monitor.reference import MAX_GATHERED_BYTES, misfit, rows_of, self_reference
from router.monitor.state import (
    SHADOW_ARM,
    Arm,
    ArmState,
    LabelCounts,
    Sample,
    VersionState,
    arm_field,
    decode_arm,
    decode_counts,
    decode_version,
    encode,
    labels_field,
    profile_field,
    version_field,
)
from router.performance.alarm import AlarmSettings
from router.performance.ladder import Act, Evidence, LadderSettings, advance
from router.performance.severity import Severity
from router.requestlog.record import OK, PRIMARY, Record

Version = tuple[str, int]
#: Arms of one version beyond this many are not told apart any more: variants come and go by an operator's hand.
MAX_ARMS: Final = 64
OTHER_ARM: Final = "(other)"


class BookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How versions are judged."""

    window: drift.WindowSettings = drift.WindowSettings()
    drift: DriftSettings = DriftSettings()
    alarm: AlarmSettings = AlarmSettings()
    ladder: LadderSettings = LadderSettings()
    reference_rows: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Rows of which a version without a profile makes its own reference."""


class Kept(NamedTuple):
    """An answer whose label may still come."""

    model: str
    request_id: str
    prediction: Prediction


class Book:
    """All that is known, with the parts that changed since they were last taken out."""

    def __init__(self, settings: BookSettings, attached: Callable[[str, int], bytes | None]) -> None:
        self._settings = settings
        self._attached = attached
        """Gives the profile that came with a version; asked once for each version."""
        self.arms: dict[Arm, ArmState] = {}
        self.versions: dict[Version, VersionState] = {}
        self.labels: dict[str, LabelCounts] = {}
        self._binners: dict[Version, Binner] = {}
        self._changed: set[str] = set()
        self._stirred: set[Version] = set()

    def restore(self, fields: Mapping[str, bytes]) -> None:
        """Read back what was stored."""
        for name, data in fields.items():
            kind, *parts = name.split(" ", 3)
            match kind, parts:
                case "arm", [model, version, arm]:
                    self.arms[Arm(model, int(version), arm)] = decode_arm(data)
                case "version", [model, version]:
                    self.versions[model, int(version)] = decode_version(data)
                case "labels", [model]:
                    self.labels[model] = decode_counts(data)
                case "profile", [model, version]:
                    self._binners[model, int(version)] = Binner(decode_profile(data))

    def changes(self) -> dict[str, bytes]:
        """Take out the parts that changed, as bytes."""
        found = {name: self._encoded(name) for name in self._changed}
        self._changed.clear()
        return found

    def profile(self, model: str, version: int) -> Profile | None:
        """Return what a version is held against; None while its reference is being gathered."""
        binner = self._binners.get((model, version))
        return binner.profile if binner else None

    def enter(self, records: Iterable[Record]) -> list[Kept]:
        """Count answers; return those whose label may still come.

        Only good answers with complete payloads count: what a model says of a request that failed is nothing.
        """
        by_arm: defaultdict[Arm, list[tuple[str, Sample]]] = defaultdict(list)
        for record in records:
            if record.outcome == OK and record.version and not (record.inputs_truncated or record.outputs_truncated):
                name = record.variant if record.kind == PRIMARY else SHADOW_ARM
                sample = Sample(bytes(record.inputs), bytes(record.outputs), record.at)
                request_id = record.request_id if record.kind == PRIMARY else record.primary_id
                by_arm[Arm(record.model, record.version, name)].append((request_id, sample))
        kept: list[Kept] = []
        for arm, answers in by_arm.items():
            kept += self._enter_arm(self._known(arm), answers)
        return kept

    def renew(self) -> None:
        """Ask again for the profiles of versions that have none, and begin their drift anew where one came."""
        for version, state in self.versions.items():
            binner = self._binners.get(version)
            if state.refused or state.sample is None or (binner is not None and not binner.profile.self_referenced):
                continue
            profile = self._fitting(version, state, state.sample)
            if profile is None:
                continue
            state.gathered, state.gathered_rows = [], 0
            self._adopt(version, profile)
            for arm, each in self.arms.items():
                if arm[:2] == version:
                    each.slots, each.window, each.columns, each.verdict = {}, b"", {}, None
                    self._changed.add(arm_field(arm))

    def judge(self, now: float) -> list[Arm]:
        """Judge every window that is full by now; return the arms that were judged."""
        judged = []
        for arm, state in self.arms.items():
            binner = self._binners.get(arm[:2])
            if binner is None or not state.slots:
                continue
            before = len(state.slots)
            if drift.judge(state, binner, now, self._settings.window, self._settings.drift):
                judged.append(arm)
                self._stirred.add(arm[:2])
            if len(state.slots) != before:
                self._changed.add(arm_field(arm))
        return judged

    def learn(self, model: str, pairings: Sequence[Pairing]) -> None:
        """Take labels of a model with the answers that they are about, in the order in which they came."""
        counts = self._counts(model)
        by_arm: defaultdict[Arm, list[Pairing]] = defaultdict(list)
        for pairing in pairings:
            arm = Arm(model, pairing.prediction.version, pairing.prediction.arm)
            profile = self.profile(*arm[:2])
            if profile is None or arm not in self.arms:
                counts.unknown += 1
            elif not labels.suits(profile.task, pairing):
                counts.invalid += 1
            else:
                by_arm[arm].append(pairing)
                counts.joined += 1
        for arm, members in by_arm.items():
            labels.learn(self.arms[arm], self._binners[arm[:2]].profile, members, self._settings.alarm)
            self._changed.add(arm_field(arm))
            self._stirred.add(arm[:2])

    def miss(self, model: str, *, unknown: int = 0, duplicate: int = 0, invalid: int = 0) -> None:
        """Count labels that told nothing."""
        counts = self._counts(model)
        counts.unknown += unknown
        counts.duplicate += duplicate
        counts.invalid += invalid

    def stirred(self) -> set[Version]:
        """Take out the versions of which something new is known, and those whose rollback still waits for a reason."""
        waiting = {key for key, state in self.versions.items() if state.ladder.withheld}
        found, self._stirred = self._stirred | waiting, set()
        return found

    def evaluate(
        self, version: Version, now: float, *, target: int | None, held: bool, serving: bool
    ) -> list[Transition]:
        """Let the ladder take what is known of a version; return the transitions, in order.

        Args:
            version: which.
            now: Unix seconds.
            target: healthy version to go back to.
            held: an operator has forbidden rollbacks.
            serving: the version answers clients; one that does not is never rolled back from.
        """
        binner = self._binners.get(version)
        state = self.versions.get(version)
        if binner is None or state is None:
            return []
        arms = {arm.name: each for arm, each in self.arms.items() if arm[:2] == version}
        severity = max((each.alarm.severity for each in arms.values()), default=Severity.OK)
        is_drifting = any(each.verdict and (each.verdict.alarmed or each.verdict.faults) for each in arms.values())
        evidence = Evidence(now, is_drifting, severity, rollback_target=target if serving else None)
        before = msgspec.structs.replace(state.ladder, held=held)
        scope = f"{version[0]}/{version[1]}"
        state.ladder, commands = advance(before, evidence, self._settings.ladder, scope)
        if state.ladder != before:
            self._changed.add(version_field(*version))
        document = evidence_of(arms, binner.profile) if commands else {}
        return [
            transition(
                command,
                before if command.act is Act.RESOLVE else state.ladder,
                *version,
                document,
                self_referenced=binner.profile.self_referenced,
            )
            for command in commands
        ]

    def _enter_arm(self, arm: Arm, answers: list[tuple[str, Sample]]) -> list[Kept]:
        version = arm[:2]
        samples = [sample for _, sample in answers]
        binner = self._binner(version, samples)
        if binner is None:
            return []
        drift.count(self.arms[arm], binner, samples, self._settings.window)
        self._changed.add(arm_field(arm))
        if not labels.can_be_judged(binner.profile):
            return []
        found = ((request_id, labels.predicted(binner.profile, arm, sample)) for request_id, sample in answers)
        return [Kept(arm.model, request_id, each) for request_id, each in found if each is not None]

    def _binner(self, version: Version, samples: list[Sample]) -> Binner | None:
        """Return the reference of a version, choosing or gathering one where there is none yet."""
        binner = self._binners.get(version)
        if binner is not None:
            return binner
        state = self.versions.get(version)
        if state is None:
            state = self.versions[version] = VersionState(sample=samples[0])
            if profile := self._fitting(version, state, samples[0]):
                return self._adopt(version, profile)
        state.gathered += samples
        state.gathered_rows += sum(map(rows_of, samples))
        self._changed.add(version_field(*version))
        size = sum(len(each.inputs) + len(each.outputs) for each in state.gathered)
        if state.gathered_rows >= self._settings.reference_rows or size >= MAX_GATHERED_BYTES:
            made = self_reference(state.gathered)
            state.gathered, state.gathered_rows = [], 0
            if made is not None:
                self._adopt(version, made)
        return None

    def _fitting(self, version: Version, state: VersionState, sample: Sample) -> Profile | None:
        document = self._attached(*version)
        if document is None:
            return None
        self._changed.add(version_field(*version))
        try:
            profile = decode_profile(document)
            state.refused = misfit(profile, sample)
        except ValueError as error:
            state.refused = str(error)
        return None if state.refused else profile

    def _adopt(self, version: Version, profile: Profile) -> Binner:
        self._binners[version] = Binner(profile)
        self._changed.add(profile_field(*version))
        return self._binners[version]

    def _known(self, arm: Arm) -> Arm:
        if arm not in self.arms:
            if sum(1 for each in self.arms if each[:2] == arm[:2]) >= MAX_ARMS:
                arm = arm._replace(name=OTHER_ARM)
            self.arms.setdefault(arm, ArmState())
        return arm

    def _counts(self, model: str) -> LabelCounts:
        self._changed.add(labels_field(model))
        return self.labels.setdefault(model, LabelCounts())

    def _encoded(self, name: str) -> bytes:
        kind, *parts = name.split(" ", 3)
        match kind, parts:
            case "arm", [model, version, arm]:
                return encode(self.arms[Arm(model, int(version), arm)])
            case "version", [model, version]:
                return encode(self.versions[model, int(version)])
            case "profile", [model, version]:
                return encode_profile(self._binners[model, int(version)].profile)
            case _:
                return encode(self.labels[parts[0]])
