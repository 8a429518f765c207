"""One gateway for all end-to-end tests that do not stop or starve it: starting takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A running gateway without models: tests name their own."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder / "state", home=tmp_path_factory.mktemp("home")) as running:
        yield running
