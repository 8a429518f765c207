"""Loads a version in a process of its own and reports: what it proves, and how much memory it took.

A model can end the process that loads it: by a crash in native code, or by asking for more memory than there is. Tried
in a child, that is a finding like any other. The child gets its job as JSON on stdin and prints its findings as JSON.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from serving.backends.catalog import create
from serving.protocol.errors import ServingError
from serving.registry.finding import Finding, failed, ok
from serving.registry.golden import Origin
from serving.registry.labelled import Labelled, score
from serving.registry.model_files import find_model
from serving.registry.options import GOLDEN_TAG, parse_options
from serving.registry.proof import prove
from serving.registry.recording import read_golden, record

DEFAULT_TIMEOUT_S: Final = 300.0
_KIB: Final = 1024


class Job(msgspec.Struct, frozen=True):
    """What to try."""

    folder: str
    tags: dict[str, str]
    example: str | None = None
    """A V2 inference request for a model without a golden example."""
    labelled: Labelled | None = None


class Trial(msgspec.Struct, frozen=True):
    """What came of it."""

    findings: tuple[Finding, ...]
    memory_bytes: int = 0
    """Resident memory at its peak beyond what the process took before it loaded; 0 when the process died."""


def try_version(
    folder: Path,
    tags: Mapping[str, str],
    *,
    example: bytes | None = None,
    labelled: Labelled | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Trial:
    """Try a version's files in a child process; see `Job`. Never raises for what the model does."""
    job = Job(str(folder), dict(tags), example.decode(errors="replace") if example is not None else None, labelled)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "serving.registry.trial"],
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
        return Trial((failed("load", _how_it_died(done.returncode), "see what the model does when it is loaded"),))


def run(job: Job) -> Trial:
    """Load, prove, score: in this process."""
    before = _peak_bytes()
    folder = Path(job.folder)
    try:
        options = parse_options(job.tags)
        files = find_model(folder)
        golden = read_golden(folder, cast("Origin", job.tags.get(GOLDEN_TAG, "given")))
        if golden is None:
            golden = record(files, options, job.example.encode() if job.example is not None else None).golden
        backend = create(options.backend, files, options)
        backend.load()
        try:
            findings = [ok("load", _facts(backend.describe()))]
            findings += prove(backend, golden, options, files.declared)
            if job.labelled is not None:
                findings += score(backend, job.labelled)
        finally:
            backend.close()
    except ServingError as error:
        return Trial((failed("load", str(error), "mend what it says"),), _peak_bytes() - before)
    return Trial(tuple(findings), _peak_bytes() - before)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _facts(described: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in described.items())


def _how_it_died(status: int) -> str:
    if status >= 0:
        return f"the process that loaded it ended with status {status}"
    name = signal.Signals(-status).name
    cause = "; memory ran out" if name == "SIGKILL" else ""
    return f"the process that loaded it was killed by {name}{cause}"


def main() -> None:
    """Read a job from stdin, print its trial; what the model or its runtime prints goes to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)
    answer = run(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    os.write(channel, msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
