"""`shepherd shadow`: versions that get copies of requests and whose answers nobody waits for."""

from __future__ import annotations

from typing import Any

import click
from rich.console import ConsoleRenderable, Group
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.failures import CommandFailed
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, show
from router.cli.shares import format_percent, parse_percent
from router.cli.traffic import policy_table, require_policy

_version_option = click.option("--version", type=click.IntRange(min=1), required=True, help="Version of the model.")
_reason_option = click.option("--reason", help="Reason, recorded in the audit log.  [default: the change itself]")


@click.group(short_help="Mirror requests to a version.")
def shadow() -> None:
    """Copy a sample of a model's requests to a version whose answers are never returned."""


@shadow.command("add")
@click.argument("model")
@_version_option
@click.option("--sample", default="100%", show_default=True, metavar="PERCENT", help="Share of requests copied.")
@click.option("--timeout-ms", type=click.IntRange(min=1), help="Deadline of a copy in milliseconds.")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Copies of one router at a time; more are dropped.")
@_reason_option
@output_option
@with_client
def add_shadow(
    client: AdminClient,
    *,
    model: str,
    version: int,
    sample: str,
    timeout_ms: int | None,
    max_in_flight: int | None,
    reason: str | None,
    output: OutputFormat,
) -> None:
    """Add a shadow version to MODEL, or change its settings."""
    try:
        sample_bp = parse_percent(sample)
    except ValueError as error:
        raise click.UsageError(f"--sample: {error}") from None
    document, etag = require_policy(client, model)
    shadows = {rule["version"]: rule for rule in document.get("shadows", ())}
    given = {"sample": sample_bp, "timeout_ms": timeout_ms, "max_in_flight": max_in_flight}
    changed = {name: value for name, value in given.items() if value is not None}
    shadows[version] = shadows.get(version, {}) | {"version": version} | changed
    why = reason or f"shadow version {version} with {format_percent(sample_bp)} of requests"
    written = client.patch_policy(model, {"shadows": list(shadows.values())}, why, etag)
    show(output, written, lambda: policy_table([written]))


@shadow.command("remove")
@click.argument("model")
@_version_option
@_reason_option
@output_option
@with_client
def remove_shadow(client: AdminClient, *, model: str, version: int, reason: str | None, output: OutputFormat) -> None:
    """Remove a shadow version from MODEL."""
    document, etag = require_policy(client, model)
    shadows = document.get("shadows", [])
    kept = [rule for rule in shadows if rule["version"] != version]
    if len(kept) == len(shadows):
        raise CommandFailed(f"{model} is not shadowed by version {version}")
    why = reason or f"stop shadowing with version {version}"
    written = client.patch_policy(model, {"shadows": kept}, why, etag)
    show(output, written, lambda: policy_table([written]))


@shadow.command("show")
@click.argument("model")
@output_option
@with_client
def show_shadows(client: AdminClient, *, model: str, output: OutputFormat) -> None:
    """Show how the answers of MODEL's shadows differ from the primary's."""
    reports = client.shadow_reports(model)
    show(output, reports, lambda: _reports_page(reports["shadows"]) if reports["shadows"] else f"{model}: no shadows")


def _reports_page(shadows: list[dict[str, Any]]) -> Group:
    parts: list[ConsoleRenderable | str] = []
    for report in shadows:
        parts.append(f"version {report['version']}: {report['words']}")
        outputs = Table("", "output", "rows", "label flips", "top reordered", "largest", "mean shift", box=None)
        for name, seen in report.get("shadow", {}).get("outputs", {}).items():
            counts = (seen["rows"], seen["label_flips"], seen["top_reordered"])
            sizes = (f"{seen['largest_difference']:.3g}", f"{seen['mean_shift']:+.3g}")
            outputs.add_row("", name, *map(str, counts), *sizes)
        if outputs.rows:
            parts.append(outputs)
        parts += [
            f"  {example['request_id']}  {example['output']}: {example['primary']} became {example['shadow']}"
            for example in report.get("examples", ())[:5]
        ]
    return Group(*parts)
