"""From a version's verified files to a backend that has answered its golden example. Blocks; call from a thread."""

from __future__ import annotations

from collections.abc import Iterable

from serving.backends.backend import Agreement, Backend
from serving.backends.catalog import create
from serving.backends.outgoing import Reach
from serving.batching.batcher import BatchLimits
from serving.registry.artifact import Artifact
from serving.registry.finding import Finding, refusal
from serving.registry.golden import arrays, check_golden
from serving.registry.model_files import find_model
from serving.registry.options import ServingOptions
from serving.registry.proof import prove


class Refused(Exception):
    """The version has failed the validation gate; says which checks and how."""


def load_proven(artifact: Artifact, reach: Reach) -> tuple[Backend, tuple[Finding, ...]]:
    """Load a version and hold it to the gate's checks of a loaded model.

    Raises:
        Refused: it fails one of them.
        ServingError: its runtime refuses it; UNAVAILABLE, the servers that it lives on are away.
    """
    backend = create(artifact.options.backend, artifact, artifact.options, reach)
    backend.load()
    try:
        findings = prove(backend, artifact.golden, artifact.options, find_model(artifact.dir).declared)
        if reason := refusal(findings):
            raise Refused(reason)
    except BaseException:
        backend.close()
        raise
    return backend, findings


def batch_limits(options: ServingOptions) -> BatchLimits:
    """Bound batches by what a version asks for.

    A request waits for the run before its own and then for its own, so a run may take half of the objective.
    """
    if not options.objective_ms:
        return BatchLimits(max_rows=options.max_batch)
    return BatchLimits(max_rows=options.max_batch, objective_s=options.objective_ms / 1e3 / 2)


def agreement(artifact: Artifact) -> Agreement:
    """Judge answers to the golden example by the version's tolerances."""
    expected, options = arrays(artifact.golden.outputs), artifact.options
    return lambda answer: check_golden(expected, answer, rtol=options.golden_rtol, atol=options.golden_atol)


def unbatched_because(findings: Iterable[Finding]) -> str | None:
    """Find the reason not to batch among what the gate has seen."""
    return next((each.seen for each in findings if each.check == "batching" and each.mend), None)
