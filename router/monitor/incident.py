"""Incidents as documents: one for each transition, with what is known at that moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from router.monitor.baseline_choice import Standard
from router.monitor.labels import metrics_of
from router.monitor.state import ArmState
from router.performance.baseline import Baseline
from router.performance.escalation import Act, Command, LadderState
from router.performance.metrics import Estimate


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Where an incident stands."""

    id: str
    model: str
    version: int
    severity: str
    """`warning`, `critical` or `emergency`: the worst that it has been."""
    opened_at: float
    """Unix seconds."""
    resolved_at: float | None = None
    resolution: str = ""
    """Why it is resolved; empty while it is not."""
    evidence: dict[str, Any] = {}
    self_referenced: bool = False
    """Held against its own first answers, for want of a profile."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an incident, and what has to be done about it."""

    act: Act
    at: float
    incident: Incident
    target: int | None = None
    """Of `roll_back`: the version to go back to."""
    reason: str = ""
    """Of `withhold` and `resolve`."""

    @property
    def id(self) -> str:
        """Name the transition, the same however often it is told, and no other one's."""
        name = f"{self.incident.id}/{self.act}-{self.incident.severity}"
        # An act comes once at a severity, but a rollback may be withheld for one reason after the other.
        return f"{name}-{self.at * 1000:.0f}" if self.act is Act.WITHHOLD else name


encode_transition = msgspec.json.Encoder().encode
decode_transition = msgspec.json.Decoder(Transition).decode


def transition(
    command: Command, state: LadderState, model: str, version: int, evidence: dict[str, Any], *, self_referenced: bool
) -> Transition:
    """Tell of a command of the ladder; `state` is where the ladder stood when it was given."""
    resolved = command.act is Act.RESOLVE
    incident = Incident(
        id=command.incident,
        model=model,
        version=version,
        severity=command.severity.word,
        opened_at=state.opened_at,
        resolved_at=command.at if resolved else None,
        resolution=command.reason if resolved else "",
        evidence=evidence,
        self_referenced=self_referenced,
    )
    return Transition(act=command.act, at=command.at, incident=incident, target=command.version, reason=command.reason)


def evidence_of(arms: Mapping[str, ArmState], standard: Standard | None) -> dict[str, Any]:
    """Say what speaks against a version, arm by arm; nothing of what is as it should be."""
    found: dict[str, Any] = {}
    for name, state in arms.items():
        lines: dict[str, Any] = {}
        if state.verdict is not None:
            columns = {each.name: each for each in state.verdict.columns}
            drifting = {column: _number(columns[column].psi) for column in state.verdict.alarmed}
            faults = [{"fault": f.fault.value, "column": f.column, "share": f.share} for f in state.verdict.faults]
            lines |= ({"drift": drifting} if drifting else {}) | ({"faults": faults} if faults else {})
            if drifting and state.explanation is not None:
                lines["explanation"] = explanation_of(state)
        if state.hint.severity:
            lines["estimate"] = estimate_of(state, standard)
        if state.alarm.severity and standard is not None:
            lines["performance"] = performance_of(state, standard)
        if lines:
            found[name] = lines
    return found


def explanation_of(state: ArmState) -> dict[str, Any] | None:
    """Show which features tell the rows of the alarm from quiet ones; None where nothing could be said."""
    return None if state.explanation is None else msgspec.to_builtins(state.explanation)


def estimate_of(state: ArmState, standard: Standard | None) -> dict[str, Any] | None:
    """Show how an arm does by its own sureness; None where that cannot be estimated."""
    if not state.hint.metrics:
        return None
    watched = standard.watched if standard is not None else None
    found = state.hint.metrics.get(watched.metric.value) if watched is not None else None
    return {
        "severity": state.hint.severity.word,
        "drop": _number(watched.drop(found.value)) if watched is not None and found is not None else None,
        "metrics": _metrics(state.hint.metrics),
    }


def performance_of(state: ArmState, standard: Standard) -> dict[str, Any]:
    """Show how an arm does by its labels."""
    baseline = standard.watched
    lines: dict[str, Any] = {
        "severity": state.alarm.severity.word,
        "answers": state.answers,
        "labelled": state.labelled,
        "labelled_share": state.labelled / state.answers if state.answers else 0.0,
        "mean_label_lag_s": state.lag_total_s / state.labelled if state.labelled else None,
        "metrics": _metrics(metrics_of(state, standard.task)),
    }
    return lines | (_against(baseline, state, is_own=standard.is_own) if baseline is not None else _UNWATCHED)


#: Of a version whose metrics no alarm can watch.
_UNWATCHED: Final[dict[str, Any]] = {"watched": None, "baseline": None, "drop": None, "adwin": None}


def _against(baseline: Baseline, state: ArmState, *, is_own: bool) -> dict[str, Any]:
    opinion = state.second_opinion
    return {
        "watched": baseline.metric.value,
        "baseline": {
            "value": baseline.value,
            "low": baseline.low,
            "high": baseline.high,
            "n": baseline.n,
            "kind": "self" if is_own else "profile",
        },
        "drop": baseline.drop_of_loss(max(0.0, state.alarm.current_loss)) if state.alarm.losses else None,
        "adwin": {
            "changes": opinion.changes,
            "labels_since": state.alarm.losses - opinion.last_change_at if opinion.changes else None,
            "mean_loss_before": opinion.mean_before if opinion.changes else None,
        },
    }


def _metrics(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        name: {"value": _number(each.value), "low": _number(each.low), "high": _number(each.high), "n": each.n}
        for name, each in found.items()
    }


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
