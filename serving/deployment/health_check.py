"""Whether a replica that once answered its golden example still does, asked now and then by Ray Serve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from serving.batching.batcher import OnRun
from serving.batching.job import Job
from serving.deployment.loaded_model import LoadedModel
from serving.registry.artifact import Artifact
from serving.registry.golden import arrays, check_golden

#: A model that has answered requests is well; one that had none is asked its example this often.
PROBE_PERIOD_S: Final = 10.0
PROBE_TIMEOUT_S: Final = 5.0
#: A run that takes longer will never end: far above any deadline that a request can bring.
STUCK_AFTER_S: Final = 300.0


class Unhealthy(Exception):
    """This replica should be replaced; says why."""


class HealthCheck:
    """Judges one loaded version; cheap enough for every second."""

    def __init__(self, artifact: Artifact, on_run: OnRun) -> None:
        self._golden = artifact.golden
        self._options = artifact.options
        self._on_run = on_run
        self._proven = time.monotonic()

    def on_run(self, jobs: Sequence[Job], rows: int, started: float, run_s: float) -> None:
        """Take a finished run as proof, and pass it on; fits `OnRun`."""
        self._proven = time.monotonic()
        self._on_run(jobs, rows, started, run_s)

    async def check(self, model: LoadedModel) -> None:
        """Raise `Unhealthy`, `ServingError` or `TimeoutError` when the model does not answer its example any more."""
        since_proof_s = time.monotonic() - self._proven
        if since_proof_s < PROBE_PERIOD_S:
            return
        answer = await model.probe(self._golden.inputs, timeout_s=PROBE_TIMEOUT_S)
        if answer is None:
            if not model.is_remote and since_proof_s > STUCK_AFTER_S:
                raise Unhealthy(f"a run has not ended for {since_proof_s:.0f} s")
            return
        tolerances = {"rtol": self._options.golden_rtol, "atol": self._options.golden_atol}
        difference = check_golden(arrays(self._golden.outputs), arrays(answer), **tolerances)
        if difference is not None:
            raise Unhealthy(f"golden check failed: {difference}")
        self._proven = time.monotonic()
