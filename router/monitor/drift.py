"""Answers to slots, slots to windows, windows to verdicts: one arm's data drift. Pure.

A record belongs to the slot of time in which its request came, unless it came to the log so late, or from so far ahead,
that its clock or its spool is to blame: then to the nearest slot that was open when it came to the log. So a slot is
complete once everything that had come to the log by its end and some seconds more has been counted, and is never added
to after that: windows are a function of the log alone, whoever counted it and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from router.drift import excerpt
from router.drift.binning import Binner
from router.drift.layout import Layout
from router.drift.pane import Pane
from router.drift.verdict import DriftSettings, judge_window
from router.monitor.explanation import explained
from router.monitor.label_free_estimate import hint_of
from router.monitor.state import ArmState, Slot, VersionState


class WindowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream is cut."""

    slot_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    grace_s: Annotated[float, msgspec.Meta(ge=0)] = 3.0
    """A slot stays open this long after its end, for records that come late."""
    rows: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Rows that make a window."""

    def slot_of(self, at: float, arrived: float) -> int:
        """Return the slot of a record: that of its request, as far as it was open when the record came to the log."""
        return min(max(int(at // self.slot_s), self.first_open(arrived)), int(arrived // self.slot_s))

    def end_of(self, slot: int) -> float:
        """Return when a slot ends, in Unix seconds."""
        return (slot + 1) * self.slot_s

    def first_open(self, at: float) -> int:
        """Return the earliest slot that is open at a time of the log's clock."""
        return int((at - self.grace_s) // self.slot_s)


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """How windows are cut and judged."""

    window: WindowSettings = WindowSettings()
    drift: DriftSettings = DriftSettings()


def merged(some: Mapping[int, Slot], others: Mapping[int, Slot], layout: Layout) -> dict[int, Slot]:
    """Add the slots of two consumers, or of two batches; in whatever order, the result is the same."""
    total = dict(some)
    for number, slot in others.items():
        total[number] = _sum(total[number], slot, layout, excerpt.SLOT_ROWS) if number in total else slot
    return total


def judge(arm: ArmState, version: VersionState, binner: Binner, until: float, settings: Judging) -> int:
    """Close the slots that are complete, and judge the windows that are full; return how many were judged.

    Args:
        arm: whose slots; changed.
        version: whose quiet rows; changed.
        binner: its reference.
        until: Unix seconds by the log's clock: what came to the log before has been counted.
        settings: how windows are cut and judged.
    """
    judged = 0
    open_from = settings.window.first_open(until)
    for number in sorted(slot for slot in arm.slots if slot < open_from):
        slot = arm.slots.pop(number)
        window = _sum(arm.window, slot, binner.layout, excerpt.WINDOW_ROWS) if arm.window else slot
        pane = Pane.from_bytes(binner.layout, window.pane)
        if pane.rows < settings.window.rows:
            arm.window = window
            continue
        arm.window = None
        _judge_window(arm, version, binner, (pane, window.rows), settings.drift)
        judged += 1
    return judged


def _judge_window(
    arm: ArmState,
    version: VersionState,
    binner: Binner,
    window: tuple[Pane, Mapping[int, bytes]],
    settings: DriftSettings,
) -> None:
    pane, rows = window
    before = set(arm.verdict.alarmed) if arm.verdict else set[str]()
    arm.columns, arm.verdict = judge_window(binner.profile, pane, arm.columns, settings)
    arm.windows += 1
    arm.hint = hint_of(binner.profile, pane, arm.hint)
    alarmed = set(arm.verdict.alarmed)
    if alarmed - before:
        arm.explanation = explained(binner.profile, version.quiet, rows)
    elif not alarmed:
        arm.explanation = None
        if not arm.verdict.drifted:
            version.quiet = excerpt.joined(version.quiet, rows, excerpt.QUIET_ROWS)


def _sum(one: Slot, other: Slot, layout: Layout, most: int) -> Slot:
    pane = Pane.from_bytes(layout, one.pane) + Pane.from_bytes(layout, other.pane)
    return Slot(pane.to_bytes(), excerpt.joined(one.rows, other.rows, most))
