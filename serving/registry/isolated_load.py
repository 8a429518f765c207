"""Loads a version in a process of its own and reports: what it proves, and how much memory it took.

A model can end the process that loads it: by a crash in native code, or by asking for more memory than there is. Tried
in a child, that is a finding like any other. The child gets its job as JSON on stdin and prints its findings as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from serving.backends.backend import Backend
from serving.backends.catalog import create
from serving.backends.example import stacked
from serving.backends.outgoing import Reach
from serving.protocol.errors import ServingError
from serving.protocol.messages import Signature
from serving.registry.child import JobReach, describe_exit, yield_memory
from serving.registry.finding import Finding, failed, ok
from serving.registry.golden import Golden, Origin, arrays
from serving.registry.golden_recording import read_golden, record
from serving.registry.memory_check import in_words
from serving.registry.model_files import find_model
from serving.registry.node_memory import gpu_room, peak_bytes
from serving.registry.options import GOLDEN_TAG, ServingOptions, parse_options
from serving.registry.proof import prove
from serving.registry.scoring import Labelled, score

DEFAULT_TIMEOUT_S: Final = 300.0
#: How onnxruntime words that an allocation failed.
_OUT_OF_MEMORY: Final = ("bad_alloc", "Failed to allocate memory", "out of memory")


class Job(msgspec.Struct, frozen=True):
    """What to try."""

    folder: str
    tags: dict[str, str]
    reach: JobReach
    example: str | None = None
    """A V2 inference request for a model without a golden example."""
    labelled: Labelled | None = None
    limit_bytes: int = 0
    """Memory that the process may ask for; 0 for as much as there is."""


class Trial(msgspec.Struct, frozen=True):
    """What came of it."""

    findings: tuple[Finding, ...]
    memory_bytes: int = 0
    """Resident memory at its peak beyond what the process took before it loaded; 0 when the process died."""
    gpu_bytes: int = 0
    """How much less of the GPU was free, loaded and run, than before; 0 without one. What other processes took or gave
    back meanwhile is in it: per process, the driver does not tell inside containers."""
    signature: Signature | None = None
    """What the model takes and gives; None when it did not load."""


def try_version(
    folder: Path,
    tags: Mapping[str, str],
    reach: Reach,
    *,
    example: bytes | None = None,
    labelled: Labelled | None = None,
    limit_bytes: int = 0,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Trial:
    """Try a version's files in a child process; see `Job`. Never raises for what the model does.

    Args:
        folder: the version's files.
        tags: its registry tags.
        reach: how far a backend may reach.
        example: a V2 inference request for a model without a golden example.
        labelled: a labelled table to score the model on.
        limit_bytes: memory that the child may ask for; 0 for as much as there is.
        timeout_s: how long it may take.
    """
    request = example.decode(errors="replace") if example is not None else None
    job = Job(str(folder), dict(tags), JobReach.of(reach), request, labelled, limit_bytes)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "serving.registry.isolated_load"],
            input=msgspec.json.encode(job),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        mend = "a model must load and answer its example in that time; make it smaller"
        return Trial((failed("load", f"it has not finished within {timeout_s:g} s", mend),))
    try:
        return msgspec.json.decode(done.stdout, type=Trial)
    except msgspec.DecodeError:
        return Trial((failed("load", describe_exit(done.returncode), "see what the model does when it is loaded"),))


def run(job: Job) -> Trial:
    """Load, prove, score: in this process."""
    before, gpu_before = peak_bytes(), gpu_room()
    folder, reach = Path(job.folder), job.reach.read()
    try:
        options = parse_options(job.tags)
        files = find_model(folder)
        golden = read_golden(folder, cast("Origin", job.tags.get(GOLDEN_TAG, "given")))
        if golden is None:
            example = job.example.encode() if job.example is not None else None
            golden = record(files, options, example, reach).golden
        backend = create(options.backend, files, options, reach)
        backend.load()
        try:
            findings = [ok("load", _facts(backend.describe()))]
            findings += prove(backend, golden, options, files.declared)
            if job.labelled is not None:
                findings += score(backend, job.labelled)
            if all(finding.verdict != "failed" for finding in findings):
                _run_largest(backend, golden, options)
            gpu_after = gpu_room()
        finally:
            backend.close()
    except (ServingError, MemoryError) as error:
        return Trial((_load_failure(error, job.limit_bytes),), peak_bytes() - before)
    gpu_bytes = gpu_before.free_bytes - gpu_after.free_bytes if gpu_before and gpu_after else 0
    return Trial(tuple(findings), peak_bytes() - before, max(0, gpu_bytes), backend.signature)


def _run_largest(backend: Backend, golden: Golden, options: ServingOptions) -> None:
    """Run the largest batch that the version may get: what a run takes grows with its rows."""
    if options.max_batch > 1 and backend.signature.batchable and golden.inputs:
        backend.infer(stacked(arrays(golden.inputs), options.max_batch), ())


def _load_failure(error: Exception, limit_bytes: int) -> Finding:
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        ceiling = f"the {in_words(limit_bytes)} that are free" if limit_bytes else "there is"
        return failed("load", f"it asks for more memory than {ceiling}: {error}", "make it smaller, or add memory")
    return failed("load", str(error), "mend what it says")


def _facts(described: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in described.items())


def main() -> None:
    """Read a job from stdin, print its trial; what the model or its runtime prints goes to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    yield_memory(job.limit_bytes)
    answer = run(job)
    os.write(channel, msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
