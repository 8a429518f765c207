"""Threads of replicas and routers together are no more than there are cores, as far as one thread each allows."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.deployment.cores import node_cores, replicas_here, thread_share


@given(st.integers(1, 512), st.integers(1, 64), st.integers(0, 200))
def test_replicas_and_routers_share_the_cores(cores: int, routers: int, replicas: int) -> None:
    """Nobody gets less than one thread, and more only while there is a core for it."""
    share = thread_share(cores, routers=routers, replicas=replicas)

    assert share >= 1
    assert share == 1 or share * max(1, replicas) + routers <= cores


@pytest.mark.parametrize(("quota", "most"), [("150000 100000", 2), ("100000 100000", 1), ("max 100000", 10_000)])
def test_a_container_has_the_cores_of_its_quota(tmp_path: Path, quota: str, most: int) -> None:
    """Part of a core counts as one; without a quota the affinity says how many there are."""
    (tmp_path / "cpu.max").write_text(quota)

    assert 1 <= node_cores(tmp_path / "cpu.max") <= most
    assert node_cores(tmp_path / "none") >= node_cores(tmp_path / "cpu.max")


def test_replicas_of_all_versions_count_and_none_that_was_killed(tmp_path: Path) -> None:
    """Those that listen, also while they are too busy to answer, or those that the version may grow to."""
    with contextlib.ExitStack() as stack:
        for number in range(5):
            replica = stack.enter_context(socket.socket(socket.AF_UNIX))
            replica.bind(str(tmp_path / f"replica-{number}.sock"))
            replica.listen(0)
            if number > 2:
                replica.close()  # as the kernel does for a process that is killed: its file stays

        for _ in range(4):
            assert replicas_here(tmp_path, 1) == 3
        assert replicas_here(tmp_path, 8) == 8
