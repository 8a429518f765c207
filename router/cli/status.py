"""`shepherd status`: the whole gateway on one screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import ConsoleRenderable, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from router.cli.client import AdminClient
from router.cli.log import accounting_table
from router.cli.model import version_table
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, console, show, show_json
from router.cli.traffic import policy_table


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option("--interval", "interval_s", type=click.FloatRange(min=0.1), default=1.0, show_default=True, hidden=True)
@output_option
@with_client
def status(client: AdminClient, watch: bool, interval_s: float, output: OutputFormat) -> None:
    """Show processes, models, traffic and the request log."""
    if not watch:
        shown = client.status()
        show(output, shown, lambda: overview(shown))
    elif output == "json":
        _repeat(lambda: show_json(client.status()), interval_s)
    else:
        with Live(console=console(), auto_refresh=False, screen=False) as live:
            _repeat(lambda: live.update(overview(client.status()), refresh=True), interval_s)


def overview(shown: dict[str, Any]) -> ConsoleRenderable:
    """Lay out an answer of `/admin/v1/status`."""
    parts: list[ConsoleRenderable] = [_facts(shown["gateway"]), Text()]
    parts += [Text(problem, style="bold red") for problem in shown["problems"]]
    for name, lay_out in (("models", version_table), ("policies", policy_table)):
        if shown[name] is not None:  # else a problem says why
            parts += [lay_out(shown[name]) if shown[name] else Text(f"no {name}", style="dim"), Text()]
    if shown["log"] is not None:
        parts.append(accounting_table(shown["log"]))
    return Group(*parts)


def _facts(gateway: dict[str, Any]) -> Table:
    """Lay out what the node says of itself, whatever that is."""
    table = Table(box=None, show_header=False)
    for name, value in gateway.items():
        lines = [f"{key}: {each}" for key, each in value.items()] if isinstance(value, dict) else [str(value)]
        table.add_row(name, "\n".join(lines) or "none")
    return table


def _repeat(act: Callable[[], None], interval_s: float) -> None:
    try:
        while True:
            act()
            time.sleep(interval_s)
    except KeyboardInterrupt:
        return
