"""What a version asks for reaches its batches."""

from __future__ import annotations

import pytest

from serving.batching.batcher import BatchLimits
from serving.deployment.loading import batch_limits
from serving.registry.options import parse_options


@pytest.mark.parametrize(
    ("tags", "limits"),
    [
        ({}, BatchLimits()),
        ({"shepherd.max_batch": "8"}, BatchLimits(max_rows=8)),
        ({"shepherd.objective_ms": "300"}, BatchLimits(objective_s=0.15)),
    ],
)
def test_tags_bound_batches(tags: dict[str, str], limits: BatchLimits) -> None:
    """A request waits for one run and is in the next: each may take half of the objective."""
    assert batch_limits(parse_options(tags)) == limits
