"""Counts a stretch of the log: which answers it has, by arm and slot of time, in numbers that add up. Pure.

Whoever has the references can count. Counts of different stretches, counted by different processes, add up to what one
process would have counted of all of them. Answers of a version without a reference are passed on as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import NamedTuple

import msgspec
import numpy as np

from router.drift import excerpt
from router.drift.binning import Binner
from router.drift.rows import Stacked, stack_rows
from router.monitor.drift import WindowSettings
from router.monitor.labels import Prediction
from router.monitor.predictions import predictions
from router.monitor.state import SHADOW_ARM, Arm, Sample, Slot, Stranger, Version
from router.monitor.trial import TrialCounts
from router.requestlog.record import NOISE, OK, PRIMARY, Record

Look = Callable[[Version], Binner | None]
"""Gives the reference of a version; None where there is none yet."""


class Arrived(NamedTuple):
    """A record, and when it came to the log."""

    record: Record
    at: float
    """Unix seconds by the log's clock."""


class Kept(NamedTuple):
    """An answer whose label may still come."""

    model: str
    request_id: str
    """Of a shadow's answer: see `shadow_id`."""
    prediction: Prediction


class ArmCounts(msgspec.Struct, array_like=True):
    """What one arm has in a stretch."""

    reference: str
    """Name of the profile whose bins were counted in."""
    answers: int = 0
    slots: dict[int, Slot] = {}


class Counts(msgspec.Struct, array_like=True):
    """What a stretch of the log amounts to."""

    arms: list[tuple[Arm, ArmCounts]]
    strangers: list[tuple[Version, Stranger]]
    """Answers of versions that have no reference."""
    trials: list[TrialCounts] = []
    """Of the arms of rollouts."""


encode_counts = msgspec.msgpack.Encoder().encode
decode_counts = msgspec.msgpack.Decoder(Counts).decode


def asked_at(record: Record, arrived: float) -> float:
    """Return when a request was made: as its record says, unless that is no moment, or one after its arrival."""
    return min(max(record.at, 0.0), arrived) if isfinite(record.at) else arrived


def shadow_id(request_id: str, version: int) -> str:
    """Name a shadow's answer to a request: ids of requests have no space."""
    return f"{request_id} {version}"


def count(arrivals: Iterable[Arrived], look: Look, settings: WindowSettings) -> tuple[Counts, list[Kept]]:
    """Count answers; return those whose label may still come, too.

    Only good answers with complete payloads count: what a model says of a request that failed is nothing. Nor does a
    second answer of the primary's version, which was asked for the noise floor of its shadows.
    """
    by_arm: defaultdict[Arm, list[Sample]] = defaultdict(list)
    for record, arrived in arrivals:
        is_whole = not (record.inputs_truncated or record.outputs_truncated)
        if record.outcome == OK and record.version and is_whole and record.reason != NOISE:
            primary, at = record.kind == PRIMARY, asked_at(record, arrived)
            sample = Sample(
                record.inputs,
                record.outputs,
                at,
                settings.slot_of(at, arrived),
                excerpt.lot_of(record.id),
                record.request_id if primary else shadow_id(record.primary_id, record.version),
            )
            by_arm[Arm(record.model, record.version, record.variant if primary else SHADOW_ARM)].append(sample)
    counts, kept = Counts([], []), list[Kept]()
    for arm, samples in by_arm.items():
        binner = look(arm[:2])
        if binner is None:
            counts.strangers += [(arm[:2], Stranger(arm.name, sample)) for sample in samples]
            continue
        part, more = count_samples(arm, binner, samples)
        counts.arms.append((arm, part))
        kept += more
    return counts, kept


def count_samples(arm: Arm, binner: Binner, samples: Sequence[Sample]) -> tuple[ArmCounts, list[Kept]]:
    """Count answers of one arm."""
    inputs = stack_rows([sample.inputs for sample in samples])
    outputs = stack_rows([sample.outputs for sample in samples])
    slots = np.array([sample.slot for sample in samples], np.int64)
    panes = binner.bin_stacked(inputs, outputs, [sample.at for sample in samples], slots)
    lots = np.array([sample.lot for sample in samples], np.int64)
    rows = _excerpts(binner, inputs, slots, lots)
    found = {slot: Slot(pane.to_bytes(), rows.get(slot, {})) for slot, pane in panes.items()}
    answers = predictions(binner.profile, arm, samples, outputs)
    kept = [
        Kept(arm.model, sample.request_id, each)
        for sample, each in zip(samples, answers, strict=True)
        if each is not None
    ]
    return ArmCounts(binner.name, len(samples), found), kept


def count_strangers(
    version: Version, binner: Binner, strangers: Iterable[Stranger]
) -> tuple[list[tuple[Arm, ArmCounts]], list[Kept]]:
    """Count answers that had to wait for the reference of their version."""
    by_arm: defaultdict[Arm, list[Sample]] = defaultdict(list)
    for name, sample in strangers:
        by_arm[Arm(*version, name)].append(sample)
    found = [(arm, *count_samples(arm, binner, samples)) for arm, samples in by_arm.items()]
    return [(arm, part) for arm, part, _ in found], [each for *_, kept in found for each in kept]


def _excerpts(binner: Binner, inputs: Stacked, slots: excerpt.Ints, lots: excerpt.Ints) -> dict[int, excerpt.Excerpt]:
    """Draw rows for explanations: of each request its first, so that a bulk request is no crowd."""
    found: dict[int, excerpt.Excerpt] = {}
    for table in inputs.tables:
        if not binner.fits(table, "input") or binner.missing(table):
            continue
        firsts = np.flatnonzero(np.diff(table.owner, prepend=-1))
        owners = table.owner[firsts]
        for slot in np.unique(slots[owners]).tolist():
            own = firsts[slots[owners] == slot]
            drawn = lots[table.owner[own]]
            if len(own) > excerpt.SLOT_ROWS:
                smallest = np.argpartition(drawn, excerpt.SLOT_ROWS)[: excerpt.SLOT_ROWS]
                own, drawn = own[smallest], drawn[smallest]
            some = {name: array[own] for name, array in table.tensors.items()}
            rows = excerpt.drawn(binner.numbers(some, "input"), drawn)
            found[slot] = excerpt.joined(found.get(slot, {}), rows, excerpt.SLOT_ROWS)
    return found
