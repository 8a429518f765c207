"""The book: every version and arm that the monitor knows, and where counts and labels are entered. Pure.

The book is changed in memory, and names each part that has changed; the shell stores those together with the
acknowledgement of what they came from. So a book that is read back is never ahead of the streams, nor behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from router.drift.profile import Profile, encode_profile
from router.monitor import counting, drift, labels
from router.monitor.baseline_choice import Standard, gather_labels, standard_of
from router.monitor.book_settings import BookSettings
from router.monitor.counting import ArmCounts, Arrived, Counts, Kept
from router.monitor.evaluation import Known, Standing, evaluate
from router.monitor.incident import Transition
from router.monitor.labels import Pairing
from router.monitor.reach import Reach, follow, heir_of
from router.monitor.references import Attached, References
from router.monitor.state import (
    MAX_ARMS,
    OTHER_ARM,
    SHADOW_ARM,
    STIRRED_FIELD,
    Arm,
    ArmState,
    Judged,
    LabelCounts,
    Stranger,
    Version,
    VersionState,
    arm_field,
    encode,
    labels_field,
    profile_field,
    read_stored,
    version_field,
)


class Book:
    """All that is known, with the parts that changed since they were last taken out."""

    def __init__(self, settings: BookSettings, attached: Attached) -> None:
        self._settings = settings
        self._judging = drift.Judging(window=settings.window, drift=settings.drift)
        self.references = References(attached, settings.reference_rows)
        self.arms: dict[Arm, ArmState] = {}
        self.versions: dict[Version, VersionState] = {}
        self.labels: dict[str, LabelCounts] = {}
        self._changed: set[str] = set()
        self._adopted: set[Version] = set()
        self._stirred: set[Version] = set()

    def restore(self, fields: Mapping[str, bytes]) -> None:
        """Read back what was stored."""
        stored = read_stored(fields)
        self.arms, self.versions, self.labels = stored.arms, stored.versions, stored.labels
        self._stirred = stored.stirred
        for version, profile in stored.profiles.items():
            self.references.adopt(version, profile)

    def changes(self) -> dict[str, bytes]:
        """Take out the parts that changed, as bytes."""
        found = {name: self._encoded(name) for name in self._changed}
        self._changed.clear()
        return found

    def adopted(self) -> dict[Version, str]:
        """Take out the names of the profiles that versions are held against since this was last asked."""
        found = {version: self.references.binners[version].name for version in self._adopted}
        self._adopted.clear()
        return found

    def profile(self, model: str, version: int) -> Profile | None:
        """Return what a version is held against; None while its reference is being gathered."""
        binner = self.references.of((model, version))
        return binner.profile if binner else None

    def standard(self, model: str, version: int) -> Standard | None:
        """Return what the labels of a version are held to; None while nothing is known."""
        profile, state = self.profile(model, version), self.versions.get((model, version))
        return standard_of(profile, state) if profile is not None and state is not None else None

    def shadows(self, model: str) -> list[int]:
        """List the versions of a model that have answered as shadows."""
        return [arm.version for arm in self.arms if arm.model == model and arm.name == SHADOW_ARM]

    def enter(self, arrivals: Iterable[Arrived]) -> list[Kept]:
        """Count answers; return those whose label may still come."""
        counts, kept = counting.count(arrivals, self.references.of, self._settings.window)
        return [*kept, *self.add(counts)]

    def add(self, counts: Counts) -> list[Kept]:
        """Add what somebody counted; return the answers that only now could be, and whose label may still come."""
        for arm, part in counts.arms:
            self._add(arm, part)
        by_version: defaultdict[Version, list[Stranger]] = defaultdict(list)
        for version, stranger in counts.strangers:
            by_version[version].append(stranger)
        kept = []
        for version, strangers in by_version.items():
            state = self._version(version)
            known = self.references.of(version)
            if known is not None or self._meet(version, state, strangers):
                kept += self._count_strangers(version, strangers)
        return kept

    def renew(self) -> None:
        """Ask again for the profiles of versions that have none, and begin their drift anew where one came."""
        for version, state in self.versions.items():
            refused = state.refused
            came = self.references.renew(version, state)
            if came or state.refused != refused:
                self._changed.add(version_field(*version))
            if not came:
                continue
            self._adopt(version)
            state.quiet = {}
            for arm, each in self.arms.items():
                if arm[:2] == version:
                    each.slots, each.window = {}, None
                    each.begin_drift_anew()
                    self._changed.add(arm_field(arm))

    def judge(self, until: float) -> list[Kept]:
        """Make the references and judge the windows that are complete.

        Args:
            until: Unix seconds by the log's clock: what came to the log before has been entered.

        Returns:
            The answers that only now could be counted, and whose label may still come.
        """
        open_from = self._settings.window.first_open(until)
        kept = []
        for version, state in self.versions.items():
            if state.gathered and (rest := self.references.settle(version, state, open_from)) is not None:
                self._changed.add(version_field(*version))
                self._adopt(version)
                kept += self._count_strangers(version, rest)
        for arm, each in self.arms.items():
            binner = self.references.of(arm[:2])
            if binner is None or not each.slots:
                continue
            before = len(each.slots)
            if drift.judge(each, self._version(arm[:2]), binner, until, self._judging):
                self._stir(arm[:2])
                self._changed.add(version_field(*arm[:2]))
            if len(each.slots) != before:
                self._changed.add(arm_field(arm))
        return kept

    def learn(self, model: str, pairings: Sequence[Pairing]) -> None:
        """Take labels of a model with the answers that they are about, in the order in which they came."""
        counts = self._counts(model)
        by_arm: defaultdict[Arm, list[tuple[Pairing, list[Judged]]]] = defaultdict(list)
        heirs, joined = dict[Arm, Arm](), set[str]()
        for pairing in pairings:
            arm = Arm(model, pairing.prediction.version, pairing.prediction.arm)
            profile, standard = self.profile(*arm[:2]), self.standard(*arm[:2])
            if profile is None:
                counts.unknown += 1
            elif (rows := labels.paired(profile.classes, standard.task if standard else None, pairing)) is None:
                counts.invalid += 1
            else:
                heirs[arm] = heirs.get(arm) or self._heir(arm)
                by_arm[heirs[arm]].append((pairing, rows))
                joined.add(pairing.label.request_id)
        counts.joined += len(joined)
        for arm, members in by_arm.items():
            self._learn(arm, members)

    def miss(self, model: str, *, unknown: int = 0, duplicate: int = 0, invalid: int = 0, unsampled: int = 0) -> None:
        """Count labels that told nothing."""
        counts = self._counts(model)
        counts.unknown += unknown
        counts.duplicate += duplicate
        counts.invalid += invalid
        counts.unsampled += unsampled

    def stirred(self) -> set[Version]:
        """Take out the versions of which something new is known, and those whose rollback still waits for a reason."""
        waiting = {key for key, state in self.versions.items() if state.ladder.withheld}
        if self._stirred:
            self._changed.add(STIRRED_FIELD)
        found, self._stirred = self._stirred | waiting, set()
        return found

    def under_incident(self) -> set[Version]:
        """List the versions that have an incident, whether or not anything new is known of them."""
        return {version for version, state in self.versions.items() if state.ladder.incident}

    def follow(self, version: Version, reach: Reach, now: float) -> dict[str, ArmState]:
        """Note which arms of a version requests reach now; return those: only their verdicts count."""
        reached, moved = follow(self._arms_of(version), reach, now)
        self._changed.update(arm_field(Arm(*version, name)) for name in moved)
        return reached

    def evaluate(self, version: Version, now: float, standing: Standing) -> list[Transition]:
        """Let the ladder take what is known of a version; return the transitions, in order.

        Args:
            version: which.
            now: Unix seconds.
            standing: how the version stands with the policy and the operators.
        """
        profile, state = self.profile(*version), self.versions.get(version)
        if profile is None or state is None:
            return []
        reached = frozenset(self.follow(version, standing.reach, now))
        known = Known(self._arms_of(version), reached, self.standard(*version), profile.self_referenced)
        before = state.ladder
        state.ladder, transitions = evaluate(version, before, known, now, standing, settings=self._settings.ladder)
        if state.ladder != before:
            self._changed.add(version_field(*version))
        return transitions

    def _add(self, arm: Arm, part: ArmCounts) -> None:
        binner = self.references.of(arm[:2])
        known = self._known(arm)
        state = self.arms[known]
        self._changed.add(arm_field(known))
        state.answers += part.answers
        if part.slots:
            state.answered_at = max(state.answered_at, self._settings.window.end_of(max(part.slots)))
        if binner is not None and binner.name == part.reference:  # else counted against a profile that has gone since
            state.slots = drift.merged(state.slots, part.slots, binner.layout)

    def _meet(self, version: Version, state: VersionState, strangers: Sequence[Stranger]) -> bool:
        self._changed.add(version_field(*version))
        if self.references.meet(version, state, strangers) is None:
            return False
        self._adopt(version)
        return True

    def _adopt(self, version: Version) -> None:
        self._changed.add(profile_field(*version))
        self._adopted.add(version)

    def _count_strangers(self, version: Version, strangers: Iterable[Stranger]) -> list[Kept]:
        parts, kept = counting.count_strangers(version, self.references.binners[version], strangers)
        for arm, part in parts:
            self._add(arm, part)
        return kept

    def _learn(self, arm: Arm, members: list[tuple[Pairing, list[Judged]]]) -> None:
        standard, judged = self.standard(*arm[:2]), [row for _, rows in members for row in rows]
        if standard is None:
            self._changed.add(version_field(*arm[:2]))
            gather_labels(self._version(arm[:2]), judged, self._settings.baseline_labels)
            return
        for pairing, _ in members:
            own = self._known(arm._replace(name=pairing.prediction.arm))
            self._changed.add(arm_field(own))
            labels.count(self.arms[own], pairing)
        self._changed.add(arm_field(arm))
        labels.learn(self.arms[arm], standard, judged, self._settings.alarm)
        self._stir(arm[:2])

    def _heir(self, arm: Arm) -> Arm:
        own = self._known(arm)
        return own._replace(name=heir_of(self._arms_of(arm[:2]), own.name))

    def _stir(self, version: Version) -> None:
        self._stirred.add(version)
        self._changed.add(STIRRED_FIELD)

    def _arms_of(self, version: Version) -> dict[str, ArmState]:
        return {arm.name: state for arm, state in self.arms.items() if arm[:2] == version}

    def _version(self, version: Version) -> VersionState:
        return self.versions.setdefault(version, VersionState())

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
            case "stirred", []:
                return encode(self._stirred)
            case "profile", [model, version]:
                return encode_profile(self.references.binners[model, int(version)].profile)
            case _:
                return encode(self.labels[parts[0]])
