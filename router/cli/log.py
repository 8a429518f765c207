"""`shepherd log`: the request log's own books."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, show


@click.group()
def log() -> None:
    """See what was recorded of requests and predictions."""


@log.command("stats")
@output_option
@with_client
def stats(client: AdminClient, output: OutputFormat) -> None:
    """Show how many requests were logged, sampled out and dropped, in total and by model."""
    books = client.log()
    show(output, books, lambda: accounting_table(books))


def accounting_table(books: dict[str, Any]) -> Table:
    """Lay out the books: requests = logged + sampled out + dropped, line by line."""
    table = Table("request log", "requests", "logged", "sampled out", "dropped", box=None, header_style="bold")
    for name, line in [("total", books), *sorted(books.get("models", {}).items())]:
        dropped = {reason: count for reason, count in line.get("dropped", {}).items() if count}
        table.add_row(
            name,
            *(str(line.get(column, 0)) for column in ("requests", "logged", "sampled_out")),
            ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "0",
            style="red" if dropped else "",
        )
    return table
