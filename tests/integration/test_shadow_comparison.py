"""Shadows that differ: what the comparison counts, the noise floor, and that reports reach their readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from demo.gateway_counts import read_shadows
from router.adapters.files.shadow_folder import ShadowFolder
from router.analysis.shadow_report import ShadowReport
from router.gateway.shadow.shadows import NOISE_EVERY
from serving.backends.backend import Array
from serving.backends.echo import EchoBackend
from serving.telemetry.exposition import render
from tests.data_plane import MODEL, DataPlane, running_data_plane

pytestmark = pytest.mark.asyncio
ONE = [{"name": "stable", "version": 1, "weight": 10_000}]


class Reversed(EchoBackend):
    """Answers with its inputs backwards, as a model with two classes mixed up would."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        return {name: array[:, ::-1].copy() for name, array in super().infer(inputs, outputs).items()}


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router without models."""
    async with running_data_plane(f"unix://{valkey_socket}") as running:
        yield running


async def report_after(plane: DataPlane, answers: int) -> ShadowReport:
    """Wait until so many answers of version 3 have been compared and published."""
    folder = ShadowFolder(plane.folder / "metrics")
    while True:
        report = folder.shadow_reports(MODEL).get(3, ShadowReport())
        if report.shadow.answers >= answers:
            return report
        await asyncio.sleep(0.01)


async def test_a_shadow_that_answers_alike_agrees_and_so_does_the_primary_with_itself(plane: DataPlane) -> None:
    """One request in so many asks the primary's version twice."""
    for version in (1, 3):
        await plane.add_replica(version, EchoBackend())
    await plane.set_policy(variants=ONE, shadows=[{"version": 3, "sample": 10_000}])

    for number in range(NOISE_EVERY):
        await plane.infer([float(number), 0, 0, 0])
    report = await report_after(plane, NOISE_EVERY)

    assert (report.shadow.answers, report.shadow.disagreements) == (NOISE_EVERY, 0)
    assert (report.noise.answers, report.noise.disagreements) == (1, 0)
    assert report.examples == ()


async def test_the_noise_floor_is_no_shadow(plane: DataPlane) -> None:
    """Asking the primary's version again is counted by itself: a list of shadows does not have the primary."""
    for version in (1, 3):
        await plane.add_replica(version, EchoBackend())
    await plane.set_policy(variants=ONE, shadows=[{"version": 3, "sample": 10_000}])

    for number in range(NOISE_EVERY):
        await plane.infer([float(number), 0, 0, 0])
    await report_after(plane, NOISE_EVERY)

    snapshot = plane.gateway._registry.snapshot()
    counters = snapshot.counters
    assert counters["shepherd_shadow_requests_total"] == {(MODEL, "3", "ok"): NOISE_EVERY}
    assert counters["shepherd_shadow_noise_requests_total"] == {(MODEL, "1", "ok"): 1}
    assert [row.version for row in read_shadows(render(snapshot)[0].decode(), MODEL)] == ["3"]


async def test_flips_are_counted_per_output_and_the_worst_are_kept(plane: DataPlane) -> None:
    """An example names the primary's request, whose record has the inputs."""
    await plane.add_replica(1, EchoBackend())
    await plane.add_replica(3, Reversed())
    await plane.set_policy(variants=ONE, shadows=[{"version": 3, "sample": 10_000}])

    answers = [await plane.infer([float(number), 0, 0, 0]) for number in range(4)]
    report = await report_after(plane, 4)

    assert report.shadow.disagreements == 3, "all zeros look the same backwards"
    output = report.shadow.outputs["x"]
    assert (output.rows, output.flips, output.far, output.largest) == (4, 3, 6, 3.0)
    assert report.examples[0].request_id == answers[3].headers["x-shepherd-request-id"]
    assert report.examples[0].primary == "[3.0, 0.0, 0.0, 0.0]"
    assert report.examples[0].shadow == "[0.0, 0.0, 0.0, 3.0]"
