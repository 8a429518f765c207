"""A trial: what the two arms of a rollout predict, and how they do by labels, since it began. Pure.

Drift asks whether a version's answers are like its own reference. A rollout asks another question: whether two versions
that answer the same kind of traffic, in the same hours, differ from each other. So both arms are counted here on the
same bins, those of the version that is to be replaced, and measured by the same metrics. What is counted only grows
while the trial lasts, and is judged by sequences that may be looked at whenever one likes (`trial_verdict`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from router.analysis.counts import NOTHING, Moments
from router.drift.binning import Binner
from router.drift.layout import Layout
from router.drift.pane import Pane
from router.drift.profile import Column, Profile
from router.monitor.baseline_choice import columns
from router.monitor.labels import Pairing, paired
from router.monitor.state import Arm, Judged
from router.performance.baseline import Metric, Task
from router.performance.loss import Pair, bounded_losses
from router.performance.metrics import TASK_METRICS
from router.requestlog.record import OK, PRIMARY, Record

#: Outputs that are compared where the profile names no score: each one more costs all of them certainty.
MAX_COLUMNS: Final = 8
_FIELD: Final = "trial "


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout wants to know."""

    id: str
    """The rollout's."""
    canary: Arm
    control: Arm
    since: float
    """Unix seconds: answers to earlier requests belong to another rollout."""
    metrics: tuple[Metric, ...] = ()
    """To be measured by labels."""

    @property
    def model(self) -> str:
        """The model whose traffic the arms share."""
        return self.control.model


class TrialArm(msgspec.Struct, kw_only=True):
    """One side of it."""

    predictions: bytes = b""
    """Sum of its panes; empty when there are none."""
    losses: dict[Metric, Moments] = {}
    """Of its labelled answers, in [0, 1]."""
    pending: dict[Metric, tuple[Pair, ...]] = {}
    """Labelled rows of an unfinished block of pairs, see `loss`."""


class TrialState(msgspec.Struct, kw_only=True):
    """What is known so far."""

    trial: Trial
    columns: tuple[Column, ...] = ()
    """Outputs that are compared, with the bins of the version that is to be replaced."""
    task: Task | None = None
    classes: tuple[str, ...] = ()
    """Names of the classes, where labels may name them."""
    scales: dict[Metric, float] = {}
    """Of the metrics that this task and profile allow, see `Baseline.scale`."""
    canary: TrialArm = msgspec.field(default_factory=TrialArm)
    control: TrialArm = msgspec.field(default_factory=TrialArm)

    def side(self, arm: Arm) -> TrialArm | None:
        """Find the side that an arm is; None when it has no part in this."""
        return self.canary if arm == self.trial.canary else self.control if arm == self.trial.control else None


encode_trial = msgspec.msgpack.Encoder().encode
decode_trial = msgspec.msgpack.Decoder(TrialState).decode


class TrialBins(NamedTuple):
    """A trial with the bins that its arms are counted in."""

    trial: Trial
    binner: Binner


class TrialCounts(msgspec.Struct, array_like=True):
    """What an arm has answered in a stretch of the log."""

    trial: str
    """Id of the trial whose bins were counted in."""
    arm: Arm
    pane: bytes


def bins_of(state: TrialState) -> TrialBins | None:
    """Make a trial ready to count; None when it compares no outputs."""
    return TrialBins(state.trial, Binner(Profile(rows=1, columns=state.columns))) if state.columns else None


def count_trials(records: Iterable[Record], bins: Mapping[str, TrialBins]) -> list[TrialCounts]:
    """Count what arms under trial have answered; what several have counted adds up.

    Args:
        records: a stretch of the log.
        bins: by model.
    """
    by_arm: defaultdict[Arm, list[Record]] = defaultdict(list)
    for record in records:
        known = bins.get(record.model)
        is_whole = record.outcome == OK and record.kind == PRIMARY and not record.outputs_truncated
        if known is not None and is_whole and record.at >= known.trial.since:
            by_arm[Arm(record.model, record.version, record.variant)].append(record)
    found = []
    for arm, answers in by_arm.items():
        trial, binner = bins[arm.model]
        if arm in {trial.canary, trial.control}:
            nothing, at = [b""] * len(answers), [0.0] * len(answers)  # inputs and their hours are not compared
            pane = binner.bin_payloads(nothing, [each.outputs for each in answers], at)
            found.append(TrialCounts(trial.id, arm, pane.to_bytes()))
    return found


class Trials:
    """The last trial of each model, with the parts that changed since they were last taken out."""

    def __init__(self) -> None:
        self.states: dict[str, TrialState] = {}
        self._bins: dict[str, TrialBins] = {}
        self._changed: set[str] = set()
        self._begun: dict[str, str] = {}

    def restore(self, fields: Mapping[str, bytes]) -> None:
        """Read back what was stored; fields that are no trials are none of this."""
        for name, data in fields.items():
            if name.startswith(_FIELD):
                self._keep(decode_trial(data))

    def changes(self) -> dict[str, bytes]:
        """Take out the trials that changed, as bytes."""
        found = {trial_field(model): encode_trial(self.states[model]) for model in self._changed}
        self._changed.clear()
        return found

    def begun(self) -> dict[str, str]:
        """Take out the ids of trials, by model, that have begun since this was last asked."""
        found, self._begun = self._begun, {}
        return found

    def begin(self, trial: Trial, profile: Profile | None) -> None:
        """Begin a trial unless it is under way.

        Args:
            trial: which.
            profile: the reference of the version that is to be replaced; without it there are no bins to count on.
        """
        known = self.states.get(trial.model)
        if profile is None or (known is not None and known.trial.id == trial.id):
            return
        self._keep(_begun(trial, profile))
        self._changed.add(trial.model)
        self._begun[trial.model] = trial.id

    def enter(self, records: Iterable[Record]) -> None:
        """Count what arms under trial have answered."""
        self.add(count_trials(records, self._bins))

    def add(self, counts: Iterable[TrialCounts]) -> None:
        """Add what somebody counted; what was counted for an earlier trial is none of this."""
        for each in counts:
            state, bins = self.states.get(each.arm.model), self._bins.get(each.arm.model)
            side = state.side(each.arm) if state is not None and state.trial.id == each.trial else None
            if side is None or bins is None:
                continue
            layout = bins.binner.layout
            before = Pane.from_bytes(layout, side.predictions) if side.predictions else Pane.empty(layout)
            side.predictions = (before + Pane.from_bytes(layout, each.pane)).to_bytes()
            self._changed.add(each.arm.model)

    def learn(self, model: str, pairings: Iterable[Pairing]) -> None:
        """Take labels of a model with the answers that they are about."""
        state = self.states.get(model)
        if state is None or not state.scales:
            return
        by_arm: defaultdict[Arm, list[Judged]] = defaultdict(list)
        for pairing in pairings:
            said = pairing.prediction
            rows = paired(state.classes, state.task, pairing) if said.at >= state.trial.since else None
            by_arm[Arm(model, said.version, said.arm)] += rows or []
        for arm, rows_of_arm in by_arm.items():
            side = state.side(arm)
            if side is not None and rows_of_arm:
                _measure(side, state, rows_of_arm)
                self._changed.add(model)

    def _keep(self, state: TrialState) -> None:
        model = state.trial.model
        self.states[model] = state
        self._bins.pop(model, None)
        if (bins := bins_of(state)) is not None:
            self._bins[model] = bins


def trial_field(model: str) -> str:
    """Name what is kept of a model's last trial."""
    return _FIELD + model


def predictions_of(state: TrialState, column: Column) -> tuple[list[int], list[int]]:
    """Return the counts of both arms, canary first, in the bins of a column."""
    layout = Layout(state.columns)
    panes = [
        Pane.from_bytes(layout, side.predictions) if side.predictions else Pane.empty(layout)
        for side in (state.canary, state.control)
    ]
    mine, theirs = (pane.counts(column.name).tolist() for pane in panes)
    return mine, theirs


def _measure(side: TrialArm, state: TrialState, rows: Sequence[Judged]) -> None:
    """Add labelled rows to the losses of a side."""
    assert state.task is not None, "a trial with scales has a task"
    said, truth, given = columns(rows)
    sure = given if state.task is Task.MULTICLASS else None
    for metric, scale in state.scales.items():
        pending = side.pending.get(metric, ())
        losses, rest = bounded_losses(metric, state.task, said, truth, sure=sure, scale=scale, pending=pending)
        side.losses = side.losses | {metric: side.losses.get(metric, NOTHING) + Moments.of(losses.tolist())}
        side.pending = side.pending | {metric: rest}


def _begun(trial: Trial, profile: Profile) -> TrialState:
    outputs = tuple(column for column in profile.columns if column.role == "output")
    scores = tuple(column for column in outputs if column.name == profile.score)
    scales: dict[Metric, float] = {}
    if profile.task is not None and profile.score:
        known = {baseline.metric: baseline.scale for baseline in profile.baselines}
        units = {metric: 1.0 for metric in trial.metrics if metric.has_unit_loss}
        allowed = TASK_METRICS[profile.task]
        scales = {each: scale for each, scale in (units | known).items() if each in allowed and each in trial.metrics}
    compared = (scores or outputs)[:MAX_COLUMNS]
    return TrialState(trial=trial, columns=compared, task=profile.task, classes=profile.classes, scales=scales)
