"""What commands print: tables for people, JSON for programs (`-o json`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Literal

import click
from rich.console import Console, ConsoleRenderable

OutputFormat = Literal["text", "json"]
#: Wide enough that nothing is cut when the output is no terminal.
_PIPE_WIDTH = 200


def show(output: OutputFormat, data: Any, render: Callable[[], ConsoleRenderable | str]) -> None:
    """Print `data` as JSON, or what `render` makes of it."""
    if output == "json":
        show_json(data)
    else:
        console().print(render())


def show_json(data: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(data, indent=2))


def console() -> Console:
    """Open the terminal, or the pipe, that stdout is now."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
