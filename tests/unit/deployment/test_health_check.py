"""A replica is replaced when its model is stuck, and not because nobody asks it anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from serving.backends.backend import Agreement, Array
from serving.backends.echo import EchoBackend
from serving.deployment.health_check import STUCK_AFTER_S, HealthCheck, Unhealthy
from serving.deployment.loaded_model import LoadedModel
from serving.protocol.arrays import to_tensor
from serving.registry.artifact import Artifact, VersionInfo
from serving.registry.golden import Golden
from serving.registry.options import ServingOptions

pytestmark = pytest.mark.asyncio

ARTIFACT = Artifact(VersionInfo("m", 1), Path("/"), None, "", Golden((), (), "given"), ServingOptions())


class Elsewhere(EchoBackend):
    """A backend whose model runs elsewhere; it is never called here."""

    max_concurrency = 1

    async def start(self, example: Mapping[str, Array], agrees: Agreement) -> None: ...

    async def infer_async(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, Array]:
        raise NotImplementedError

    def troubles(self) -> Mapping[str, str | None]:
        return {}

    async def stop(self) -> None: ...


def long_unproven() -> HealthCheck:
    """As if the last answer were long ago."""
    health_check = HealthCheck(ARTIFACT, lambda *_: None)
    health_check._proven -= 2 * STUCK_AFTER_S
    return health_check


async def test_a_run_that_never_ends_is_a_reason() -> None:
    """Busy for longer than any deadline."""
    with pytest.raises(Unhealthy, match="a run has not ended"):
        await long_unproven().check(LoadedModel(EchoBackend()))


async def test_a_model_that_lives_elsewhere_is_watched_there() -> None:
    """A quiet night is no fault of it, and another replica would bring no server back."""
    await long_unproven().check(LoadedModel(Elsewhere()))


async def test_an_example_of_several_rows_is_not_taken_for_one() -> None:
    """What one row takes decides how large batches may grow, and an idle model runs nothing but its example."""
    model = LoadedModel(EchoBackend())
    await model.start()

    await model.probe((to_tensor("x", np.ones((3, 4), np.float32), "FP32"),), timeout_s=10.0)

    assert model.stats()["batch_rows"] == 3.0
    await model.close()
