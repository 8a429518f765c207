"""`shepherd up`, `down`, `config`: one gateway node and its settings."""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.table import Table

from router.cli.failures import CommandFailed, WrongSetting
from router.cli.location import find_node
from router.cli.options import output_option, reported_failures, state_dir, state_option, with_settings
from router.cli.output import OutputFormat, show
from router.settings_sources import ResolvedSettings, effective
from serving.protocol.errors import ServingError

#: An Envoy that does not come up is given up before.
_RELOAD_S: Final = 30.0
_POLL_S: Final = 0.1


@click.command()
@with_settings
def up(resolved: ResolvedSettings) -> None:
    """Start a gateway in the foreground; Ctrl-C stops it.

    Every setting may also come from a SHEPHERD_* variable or a YAML file; `shepherd config` shows the effective values.
    """
    _check_log_rules(resolved.settings.log_rules_file)
    _check_parquet(resolved.settings.log_parquet_folder)
    from router import app  # Ray and everything with it

    sys.exit(app.run(resolved.settings))


def _check_log_rules(file: Path | None) -> None:
    """Say at once what a router would refuse to start with."""
    if file is None:
        return
    from router.adapters.files.log_rules import parse_log_rules  # NumPy comes with it

    with reported_failures():
        try:
            parse_log_rules(file)
        except ServingError as error:
            raise WrongSetting(f"log_rules_file: {error}") from None


def _check_parquet(folder: Path | None) -> None:
    """Say at once what the sink would refuse to start with."""
    if folder is not None and find_spec("pyarrow") is None:
        with reported_failures():
            raise WrongSetting("log_parquet_folder: Parquet needs pyarrow: pip install 'model-shepherd[export]'")


@click.command()
@state_option
def down(state: str | None) -> None:
    """Stop the gateway of a state directory."""
    from router import app

    with reported_failures():
        directory = state_dir(state)
    sys.exit(app.stop(directory))


@click.command(short_help="Replace Envoy without a failed call.")
@state_option
def reload(state: str | None) -> None:
    """Replace Envoy without a failed call, and wait until it is done.

    This reloads certificates, which also happens automatically when their files change.
    """
    with reported_failures():
        directory = state_dir(state)
        node = find_node(directory)
        if node.door_pid is None:
            raise CommandFailed("no Envoy serves gRPC here, so there is nothing to replace")
        os.kill(node.pid, signal.SIGHUP)
        deadline = time.monotonic() + _RELOAD_S
        while (serving := find_node(directory).door_pid) == node.door_pid:
            if time.monotonic() > deadline:
                log = directory / "logs" / "node.log"
                raise CommandFailed(f"process {serving} goes on serving gRPC; {log} says why it was not replaced")
            time.sleep(_POLL_S)
    click.echo(f"gRPC is served by process {serving} now.")


@click.command()
@with_settings
@output_option
def config(resolved: ResolvedSettings, output: OutputFormat) -> None:
    """Show every setting with its value and where it came from."""
    lines = effective(resolved)

    def render() -> Table:
        table = Table("setting", "value", "from", "meaning", box=None, header_style="bold")
        for line in lines:
            given = line.origin != "default"
            value = "-" if line.value is None else str(line.value)
            table.add_row(line.key, value, line.origin, line.description, style="" if given else "dim")
        return table

    show(output, [msgspec.to_builtins(line) for line in lines], render)
