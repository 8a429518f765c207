"""The `shepherd` command on the state directory of a live admin API, run in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from click.testing import CliRunner, Result

from router.cli.main import cli
from tests.admin import AdminWorld, serving, write_node

Shepherd = Callable[..., Result]
"""Runs a command: its words, and what `CliRunner.invoke` takes besides."""


@contextmanager
def shepherd_on(world: AdminWorld) -> Iterator[Shepherd]:
    """Serve the admin API, and give what runs commands on its state directory."""
    with serving(world.app) as url:
        write_node(world.state_dir, os.getpid(), admin=url)

        def run(*arguments: str, **more: Any) -> Result:
            environment = {"SHEPHERD_STATE": str(world.state_dir), "SHEPHERD_URL": None, "SHEPHERD_TOKEN": None}
            return CliRunner(env=environment).invoke(cli, list(arguments), **more)

        yield run


def json_of(result: Result) -> Any:
    """Read the answer of a command that must have succeeded."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
