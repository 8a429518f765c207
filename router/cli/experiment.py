"""`shepherd experiment`: the variants of a model beside each other, and what is known of them."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Group
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, show


@click.command(short_help="Compare the variants of a model.")
@click.argument("model")
@click.option(
    "--control", metavar="VARIANT", help="Variant to compare with.  [default: the one with the largest share]"
)
@output_option
@with_client
def experiment(client: AdminClient, *, model: str, control: str | None, output: OutputFormat) -> None:
    """Compare the variants of MODEL; results are valid however often you look."""
    readout = client.experiment(model, control)
    show(output, readout, lambda: _page(readout))


def _page(readout: dict[str, Any]) -> Group:
    arms = Table("arm", "requests", "errors", "error rate", "p95", "outcomes", box=None, header_style="bold")
    for arm in readout.get("arms", ()):
        rate = f"{arm['error_rate']:.2%} ({arm['error_rate_low']:.2%} to {arm['error_rate_high']:.2%})"
        p95 = f"{1000 * arm['p95_s']:.3g} ms" if arm["p95_s"] is not None else "-"
        mean = f"{arm['outcomes']} of mean {arm['outcome_mean']:.4g}" if arm["outcomes"] else "-"
        arms.add_row(arm["name"], str(arm["requests"]), str(arm["errors"]), rate, p95, mean)
    lines = [
        f"  {measure:8} {comparison['arm']}: {comparison[measure]['words']}"
        for comparison in readout.get("comparisons", ())
        for measure in ("errors", "latency", "outcome")
    ]
    ratio = [readout["sample_ratio"]["words"]] if "sample_ratio" in readout else []
    return Group(readout["words"], *([arms] if arms.rows else []), *lines, *ratio)
