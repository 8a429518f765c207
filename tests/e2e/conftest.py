"""One gateway for all end-to-end tests that do not stop or starve it: starting takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A running gateway without models: tests name their own."""
    folder = tmp_path_factory.mktemp("gateway")
    quick = (
        *("--registry-poll-s", "0.5", "--scale-down-delay-s", "2", "--scale-to-zero-after-s", "2"),
        *("--host-cold-after-s", "4", "--retrained-rollout"),
    )
    with running_gateway(folder / "state", home=tmp_path_factory.mktemp("home"), flags=quick) as running:
        yield running
