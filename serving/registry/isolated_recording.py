"""Records a golden example in a child process, so that a model which ends its process ends only that one.

The control process records for whoever registers a version, and for versions that were logged without an example. A
model that crashes there, or takes all memory, would take control down with it, again each time that it is looked at.
The child gets its job as JSON on stdin, writes the example into a folder and prints the signature as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.messages import Signature
from serving.registry.child import JobReach, describe_exit, yield_memory
from serving.registry.golden import Origin
from serving.registry.golden_recording import Recording, read_golden, record, write_golden
from serving.registry.model_files import find_model
from serving.registry.node_memory import node_room
from serving.registry.options import parse_options

_TIMEOUT_S: Final = 300.0


class Job(msgspec.Struct, frozen=True):
    """What to record."""

    folder: str
    """The model's files."""
    into: str
    """An empty folder for the example."""
    tags: dict[str, str]
    example: str | None
    reach: JobReach
    limit_bytes: int


class Recorded(msgspec.Struct, frozen=True):
    """What came of it: a signature and the origin of the example, or an error."""

    signature: Signature | None = None
    origin: str = ""
    kind: int = 0
    message: str = ""


def record_apart(folder: Path, tags: Mapping[str, str], example: bytes | None, reach: Reach) -> Recording:
    """Record in a child process what `record` would here; raises as it does, and INVALID for a model that kills it."""
    request = example.decode(errors="replace") if example is not None else None
    with tempfile.TemporaryDirectory(prefix="recording-") as into:
        job = Job(str(folder), into, dict(tags), request, JobReach.of(reach), node_room().free_bytes)
        done = _run(job)
        if done.signature is None:
            raise ServingError(ErrorKind(done.kind), done.message)
        golden = read_golden(Path(into), cast("Origin", done.origin))
        assert golden is not None, "the child has written it"
        return Recording(golden, done.signature)


def _run(job: Job) -> Recorded:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "serving.registry.isolated_recording"],
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise invalid(f"the model has not answered its example within {_TIMEOUT_S:g} s") from error
    try:
        return msgspec.json.decode(done.stdout, type=Recorded)
    except msgspec.DecodeError as error:
        raise invalid(f"the model cannot be run on its example: {describe_exit(done.returncode)}") from error


def _record(job: Job) -> Recorded:
    """Do the job, in this process."""
    example = job.example.encode() if job.example is not None else None
    try:
        recording = record(find_model(Path(job.folder)), parse_options(job.tags), example, job.reach.read())
    except ServingError as error:
        return Recorded(kind=error.kind, message=error.message)
    except MemoryError:
        return Recorded(kind=ErrorKind.INVALID, message="the model asks for more memory than is free")
    write_golden(Path(job.into), recording.golden)
    return Recorded(recording.signature, recording.golden.origin)


def main() -> None:
    """Read a job from stdin, print what came of it; what the model or its runtime prints goes to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    yield_memory(job.limit_bytes)
    os.write(channel, msgspec.json.encode(_record(job)))


if __name__ == "__main__":
    main()
