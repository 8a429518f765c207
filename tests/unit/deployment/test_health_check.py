"""A replica is replaced when its model is stuck, and not because nobody asks it anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from serving.backends.backend import Agreement, Array
from serving.backends.echo import EchoBackend
from serving.deployment.health_check import STUCK_AFTER_S, Unhealthy, Vitality
from serving.deployment.loaded_model import LoadedModel
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


def long_unproven() -> Vitality:
    """As if the last answer were long ago."""
    vitality = Vitality(ARTIFACT, lambda *_: None)
    vitality._proven -= 2 * STUCK_AFTER_S
    return vitality


async def test_a_run_that_never_ends_is_a_reason() -> None:
    """Busy for longer than any deadline."""
    with pytest.raises(Unhealthy, match="a run has not ended"):
        await long_unproven().check(LoadedModel(EchoBackend()))


async def test_a_model_that_lives_elsewhere_is_watched_there() -> None:
    """A quiet night is no fault of it, and another replica would bring no server back."""
    await long_unproven().check(LoadedModel(Elsewhere()))
