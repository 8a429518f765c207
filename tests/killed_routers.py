"""Routers' logs in processes of their own, to be killed by tests, at a random moment or at a chosen line."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from router.adapters.files.spool import SpoolLimits
from router.adapters.files.spool_accounting import fold, is_folded
from router.adapters.files.spool_folder import adopt
from router.adapters.redis.request_log import RedisRequestLog
from router.gateway.log.shipper import Shipper
from router.requestlog.record import SHADOW
from tests.answers import a_recorder, a_spool, add_answer
from tests.forking import processes_of

_PROCESSES = processes_of(__name__)
_SURVIVED = 0


@contextmanager
def running(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[ForkServerProcess, Connection]]:
    """Run `target(pipe, *arguments)` in a process; it does not outlive the block."""
    here, there = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=target, args=(there, *arguments))
    process.start()
    there.close()
    try:
        yield process, here
    finally:
        process.kill()
        process.join()
        here.close()


def wait_for(pipe: Connection, answered: int) -> int:
    """Wait until the process has told of so many answers; return how many it told of then, which may be more."""
    told = 0
    while told < answered:
        told = struct.unpack("<q", pipe.recv_bytes())[0]
    return told


def last_told(pipe: Connection) -> int:
    """Return the number of answers that a dead process had told of last, 0 if none beyond those waited for."""
    told = 0
    try:
        while True:
            told = struct.unpack("<q", pipe.recv_bytes())[0]
    except EOFError:
        return told


def answer_for_ever(pipe: Connection, root: Path, incarnation: str, limits: SpoolLimits, seed: int) -> None:
    """Answer requests of several models in ticks of random size; tell how many after each tick."""
    chance = random.Random(seed)
    recorder = a_recorder(a_spool(root, incarnation, limits), incarnation, model_sample_bp={"noisy": 3_000})
    answered = 0
    while True:
        for _ in range(chance.randint(1, 20)):
            answered += 1
            model = chance.choice(["flights", "noisy", "other"])
            add_answer(recorder, answered, model=model, inputs=bytes(chance.randint(0, 300)))
        recorder.flush()
        pipe.send_bytes(struct.pack("<q", answered))


def answer_and_ship_for_ever(pipe: Connection, root: Path, incarnation: str, url: str, prefix: str) -> None:
    """Answer requests and ship their records to Redis meanwhile; tell how many after each tick."""
    asyncio.run(_answer_and_ship(pipe, root, incarnation, RedisRequestLog(url, prefix=prefix)))


async def _answer_and_ship(pipe: Connection, root: Path, incarnation: str, stream: RedisRequestLog) -> None:
    spool = a_spool(root, incarnation, SpoolLimits(segment_bytes=20_000))
    recorder = a_recorder(spool, incarnation)
    Shipper(spool, stream, root=root, interval_s=0.001, adopt_interval_s=3600).start()
    answered = 0
    while True:
        for _ in range(20):
            answered += 1
            add_answer(recorder, answered)
        recorder.flush()
        pipe.send_bytes(struct.pack("<q", answered))
        await asyncio.sleep(0)


def answer_a_little(pipe: Connection, root: Path, kept: Path, line: int) -> None:
    """Go through every kind of step that a spool knows, and die at the given line of it.

    Segments are copied to `kept` before they are released.
    """
    limits = SpoolLimits(max_bytes=4_000, segment_bytes=700)
    with _killed_at(line):
        spool = a_spool(root, "killed", limits)
        recorder = a_recorder(spool, "killed", model_sample_bp={"noisy": 5_000})
        for tick in range(7):
            add_answer(recorder, tick)
            add_answer(recorder, tick, model="noisy", request_id=f"noisy-{tick}")
            add_answer(recorder, tick, kind=SHADOW, inputs=bytes(100 * tick))
            recorder.flush()
            pipe.send_bytes(struct.pack("<q", 3 * tick + 3))
            if tick == 3:
                _keep_segments(spool.folder.path, kept)
                spool.folder.release(spool.folder.end)
    sys.exit(_SURVIVED)


def adopt_and_fold(pipe: Connection, path: Path, line: int) -> None:
    """Take over an orphan as if its records were shipped, and die at the given line of it."""
    with _killed_at(line):
        folder = adopt(path)
        if folder is not None and not is_folded(folder):
            fold(folder)
        elif folder is not None:
            folder.delete()
    sys.exit(_SURVIVED)


def _keep_segments(folder: Path, kept: Path) -> None:
    kept.mkdir()
    for segment in folder.glob("*.seg"):
        shutil.copy(segment, kept)


@contextmanager
def _killed_at(line: int) -> Iterator[None]:
    """Kill this process by SIGKILL before the n-th line of the router's code, or of replacing a file, in the block."""
    passed = 0
    ours: dict[CodeType, bool] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal passed
        code = frame.f_code
        if code not in ours:
            ours[code] = any(part in code.co_filename for part in ("/router/", "/serving/atomic_file"))
        if not ours[code]:
            return None
        if event == "line":
            passed += 1
            if passed == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
