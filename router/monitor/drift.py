"""Records to panes, panes to windows, windows to verdicts: one arm's data drift. Pure.

A record belongs to the slot of time in which its request came, wherever and whenever it is read; a slot is closed some
seconds after its end, and closed slots are joined in order until they hold enough rows to judge. Panes add up, so
however the stream was cut into batches or shared between consumers, the windows, and so the verdicts, are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from router.drift.binning import Binner
from router.drift.layout import Layout
from router.drift.pane import Pane
from router.drift.verdict import DriftSettings, WindowVerdict, judge_window
from router.monitor.state import ArmState, Sample


class WindowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream is cut."""

    slot_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    grace_s: Annotated[float, msgspec.Meta(ge=0)] = 3.0
    """A slot stays open this long after its end, for records that come late."""
    rows: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Rows that make a window."""


def count(state: ArmState, binner: Binner, samples: Sequence[Sample], settings: WindowSettings) -> None:
    """Add answers to the slots that they belong to."""
    by_slot: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_slot[int(sample.at // settings.slot_s)].append(sample)
    panes = {
        slot: binner.bin_payloads([s.inputs for s in each], [s.outputs for s in each], [s.at for s in each])
        for slot, each in by_slot.items()
    }
    state.slots = merged(state.slots, {slot: pane.to_bytes() for slot, pane in panes.items()}, binner.layout)
    state.answers += len(samples)


def merged(some: Mapping[int, bytes], others: Mapping[int, bytes], layout: Layout) -> dict[int, bytes]:
    """Add the slots of two consumers, or of two batches; in whatever order, the result is the same."""
    total = dict(some)
    for slot, data in others.items():
        if slot in total:
            pane = Pane.from_bytes(layout, total[slot]) + Pane.from_bytes(layout, data)
            data = pane.to_bytes()  # noqa: PLW2901 - the sum takes its place
        total[slot] = data
    return total


def judge(
    state: ArmState, binner: Binner, now: float, settings: WindowSettings, drift: DriftSettings
) -> list[WindowVerdict]:
    """Close the slots that are due, and judge the windows that are full."""
    verdicts = []
    due = sorted(slot for slot in state.slots if (slot + 1) * settings.slot_s + settings.grace_s <= now)
    for slot in due:
        pane = Pane.from_bytes(binner.layout, state.slots.pop(slot))
        window = Pane.from_bytes(binner.layout, state.window) + pane if state.window else pane
        if window.rows < settings.rows:
            state.window = window.to_bytes()
            continue
        state.window = b""
        state.columns, state.verdict = judge_window(binner.profile, window, state.columns, drift)
        state.windows += 1
        verdicts.append(state.verdict)
    return verdicts
