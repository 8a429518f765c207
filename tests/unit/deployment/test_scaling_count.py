"""What the autoscaler does is counted by direction and by the signal that asked for it."""

from __future__ import annotations

import uuid
from pathlib import Path

from serving.deployment.scaling import Signal
from serving.deployment.scaling_count import ScalingCount
from serving.telemetry.catalog import SCALINGS
from serving.telemetry.folder import read_folder


def counted(folder: Path, model: str) -> dict[tuple[str, ...], float]:
    found = read_folder(folder).snapshot.counters.get(SCALINGS.name, {})
    return {labels[2:]: count for labels, count in found.items() if labels[0] == model}


def test_a_change_is_counted_once_and_a_wish_is_not(tmp_path: Path) -> None:
    """The policy is asked ten times a second; delays lie between a wish and the change."""
    model = uuid.uuid4().hex
    count = ScalingCount(tmp_path, model, 1)

    for _ in range(10):
        count.see(2)
        count.asked_by = Signal.QUEUE
    assert counted(tmp_path, model) == {}

    count.see(4)
    count.see(4)
    count.asked_by = Signal.BUSY
    count.see(1)

    assert counted(tmp_path, model) == {("up", "queue"): 1.0, ("down", "busy"): 1.0}


def test_a_version_that_is_deployed_again_goes_on_counting(tmp_path: Path) -> None:
    """Ray Serve makes a new policy then, in the same process; a counter never steps back."""
    model = uuid.uuid4().hex
    for _ in range(2):
        count = ScalingCount(tmp_path, model, 1)
        count.see(1)
        count.see(2)

    assert counted(tmp_path, model) == {("up", "bound"): 2.0}
