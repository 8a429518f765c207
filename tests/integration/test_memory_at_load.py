"""Models that take more memory than there is, refused by a limit or killed by the kernel: nobody else pays for them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router.adapters.memory.version_board import MemoryVersionBoard
from router.control.versions import Versions
from router.ports import PolicySnapshot, VersionUnready
from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import VersionInfo
from serving.registry.cache import CachedVersion
from serving.registry.isolated_load import try_version
from serving.registry.isolated_recording import record_apart
from serving.registry.node_memory import node_room
from serving.registry.registry import Registry
from tests import models
from tests.data_plane import MODEL
from tests.fleets import SHARED, Bench
from tests.hosts import version_spec
from tests.killing import killing_children

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

LOADING, RECORDING = "serving.registry.isolated_load", "serving.registry.isolated_recording"
KILLED = r"killed by SIGKILL, most likely because memory ran out; .*shepherd.max_batch"


def test_a_model_that_runs_out_of_memory_is_not_registered_and_the_next_one_is(tmp_path: Path) -> None:
    """The kernel would promise it, and then look for somebody to kill: the child's own limit refuses it before.

    Where the kernel kills all the same, whoever registers it is told what that means most likely, and what to do.
    """
    registry = Registry.open(None, state_dir=tmp_path, recorder=record_apart)

    with pytest.raises(ServingError, match="memory") as refused:
        registry.register("hungry", models.hungry(2 * node_room().free_bytes))
    with killing_children(RECORDING), pytest.raises(ServingError, match=KILLED) as killed:
        registry.register("deadly", models.add_one())

    assert (refused.value.kind, killed.value.kind) == (ErrorKind.INVALID, ErrorKind.INVALID)
    assert registry.register("fine", models.add_one()) == 1
    registry.close()


def test_a_load_that_the_kernel_kills_is_a_finding(tmp_path: Path) -> None:
    """Of the check that it failed."""
    (tmp_path / "model.onnx").write_bytes(models.add_one())

    with killing_children(LOADING) as killed:
        (finding,) = try_version(tmp_path, {}, Reach()).findings

    assert len(killed) == 1
    assert (finding.check, finding.verdict) == ("load", "failed")
    assert re.search(KILLED, finding.seen)


class Remembered:
    """A registry whose versions are all in the cache."""

    def __init__(self, bench: Bench) -> None:
        self._cache = bench.host_folder.cache

    async def resolve(self, model: str, version: int) -> VersionInfo:
        return VersionInfo(model, version, tags=SHARED)

    fetch = resolve

    async def versions(self) -> Sequence[VersionInfo]:
        return ()

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        raise NotImplementedError

    def remembered(self, model: str, version: int) -> CachedVersion | None:
        return self._cache.remembered(model, version)


@asynccontextmanager
async def reconciling(bench: Bench) -> AsyncIterator[Versions]:
    """Bring up what is asked for, as the control process does."""
    versions = Versions(
        bench.fleet,
        Remembered(bench),
        MemoryVersionBoard(),
        lambda info: version_spec(bench.folder, info.model, info.version, SHARED),
    )
    versions.follow(PolicySnapshot(1, {}))
    running = asyncio.create_task(versions.run())
    try:
        yield versions
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await versions.close()


@pytest.mark.asyncio
async def test_a_version_that_the_kernel_kills_at_load_is_refused_once_and_the_others_go_on(tmp_path: Path) -> None:
    """Nobody tries it again until somebody asks; then it has its chance."""
    bench = Bench(tmp_path)
    for version in (1, 2, 3):
        bench.host_folder.register(version, models.add(float(version)), tags=SHARED)
    async with reconciling(bench) as versions:
        assert (await versions.ensure_ready(MODEL, 1, timeout_s=60)).serves

        with killing_children(LOADING) as killed, pytest.raises(VersionUnready) as refused:
            await versions.ensure_ready(MODEL, 2, timeout_s=60)

        status = refused.value.status
        assert re.search(KILLED, status.reason)
        assert (status.state, status.retried, len(killed)) == ("failed", False, 1)
        assert versions.status_of(MODEL, 1).serves
        assert (await versions.ensure_ready(MODEL, 3, timeout_s=60)).serves
        assert versions.status_of(MODEL, 2).state == "failed"
        assert (await versions.ensure_ready(MODEL, 2, timeout_s=60)).serves
