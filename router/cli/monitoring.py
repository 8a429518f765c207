"""`shepherd drift`, `performance`, `incidents`: what the monitor knows; `hold`: disables automatic rollbacks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Group
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.options import output_option, reason_option, with_client
from router.cli.output import OutputFormat, show

#: Columns of a version that are shown: those with most evidence.
_SHOWN = 12


@click.command(short_help="Show the drift of a model's data and predictions.")
@click.argument("model")
@output_option
@with_client
def drift(client: AdminClient, *, model: str, output: OutputFormat) -> None:
    """Show how far the data and predictions of MODEL are from their reference."""
    found = client.drift(model)
    show(output, found, lambda: Group(*(part for version in found["versions"] for part in _drift(version))))


@click.command(short_help="Show a model's performance by labels.")
@click.argument("model")
@output_option
@with_client
def performance(client: AdminClient, *, model: str, output: OutputFormat) -> None:
    """Show the performance of MODEL by the labels received."""
    found = client.performance(model)
    show(output, found, lambda: _performance(found))


@click.command()
@click.option("--model", metavar="MODEL", help="Only this model.")
@output_option
@with_client
def incidents(client: AdminClient, *, model: str | None, output: OutputFormat) -> None:
    """List incidents, newest first."""
    found = client.incidents(model)
    show(output, found, lambda: _incidents(found["incidents"]))


@click.command(short_help="Disable automatic rollbacks of a model.")
@click.argument("model")
@click.option("--release", is_flag=True, help="Enable them again.")
@reason_option
@output_option
@with_client
def hold(client: AdminClient, *, model: str, release: bool, reason: str, output: OutputFormat) -> None:
    """Disable automatic rollbacks of MODEL: incidents are reported, traffic does not move."""
    changed = client.hold_rollbacks(model, reason, held=not release)
    now = "allowed" if changed["rollbacks_held"] is None else f"held: {changed['rollbacks_held']}"
    show(output, changed, lambda: f"automatic rollbacks of {model} are {now}")


def _drift(version: dict[str, Any]) -> list[str | Table]:
    reference = version["reference"]
    kinds = {
        "gathering": f"collecting its first {reference['rows']} rows as a reference",
        "self": f"compared with its own first {reference['rows']} rows",
        "profile": f"compared with its profile of {reference['rows']} rows",
    }
    refused = f"; its profile is refused: {reference['refused']}" if reference["refused"] else ""
    parts: list[str | Table] = [f"version {version['version']}: {kinds[reference['kind']]}{refused}"]
    for arm in version["arms"]:
        alarmed = ", ".join(arm["alarmed"]) or "none"
        parts.append(f"  {arm['arm']}: {arm['answers']} answers, {arm['windows']} windows judged, alarms: {alarmed}")
        parts += [f"    {each['fault']} {each['column']}: {each['share']:.2%} of rows" for each in arm["faults"]]
        parts += _explanation(arm["explanation"])
        table = Table("column", "PSI", "JS", "q-value", "evidence", "", box=None, header_style="bold")
        for column in sorted(arm["columns"], key=lambda each: -each["evidence"])[:_SHOWN]:
            says = "alarm" if column["alarmed"] else "drifted" if column["drifted"] else ""
            table.add_row(
                column["name"],
                f"{column['psi']:.3f}",
                f"{column['jensen_shannon']:.3f}",
                f"{column['q_value']:.2g}",
                f"{column['evidence'] / arm['level']:.2g}",
                says,
                style="red" if column["alarmed"] else "",
            )
        if table.rows:
            parts.append(table)
    return parts


def _explanation(found: dict[str, Any] | None) -> list[str]:
    """Say what tells the rows of an alarm from those of quiet windows."""
    if found is None:
        return []
    if not found["features"]:
        return [f"    numeric inputs do not tell its rows from quiet ones (AUC {found['auc']:.2f})"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found["features"].items())
    return [f"    told from quiet rows (AUC {found['auc']:.2f}) by {shares}"]


def _performance(found: dict[str, Any]) -> Group:
    counts = found["labels"]
    head = "labels: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())
    held = [f"automatic rollbacks are held: {found['rollbacks_held']}"] if found["rollbacks_held"] else []
    heads = ("version", "arm", "labelled", "watched", "baseline", "now", "drop", "estimate", "ADWIN", "")
    table = Table(*heads, box=None, header_style="bold")
    reasons = [f"version {each['version']}: {each['why']}" for each in found["versions"] if each["why"]]
    for version in found["versions"]:
        for arm in version["arms"]:
            now = arm["metrics"].get(arm["watched"], {}).get("value")
            estimated = (arm["estimate"] or {}).get("drop")
            table.add_row(
                str(version["version"]),
                arm["arm"],
                f"{arm['labelled']} ({arm['labelled_share']:.0%})",
                arm["watched"] or "nothing",
                f"{arm['baseline']['value']:.4f}" if arm["baseline"] else "-",
                "-" if now is None else f"{now:.4f}",
                "-" if arm["drop"] is None else f"{arm['drop']:+.1%}",
                "-" if estimated is None else f"{estimated:+.1%}",
                _opinion(arm["adwin"]),
                "" if arm["severity"] == "ok" else arm["severity"],
            )
    return Group(head, *held, *reasons, *([table] if table.rows else []))


def _opinion(found: dict[str, Any] | None) -> str:
    """Say when ADWIN last saw the losses change."""
    return f"changed {found['labels_since']} labels ago" if found and found["changes"] else "-"


def _incidents(found: list[dict[str, Any]]) -> Table | str:
    if not found:
        return "no incidents"
    table = Table("incident", "severity", "opened", "resolved", "about", "retrained", box=None, header_style="bold")
    for each in found:
        kinds = ", ".join(sorted({what for arm in each["evidence"].values() for what in arm}))
        about = "; ".join(part for part in (kinds, each["resolution"]) if part)
        retrained = ", ".join(f"version {rollout['version']} {rollout['phase']}" for rollout in each["rollouts"])
        table.add_row(
            *(each["id"], each["severity"], _time(each["opened_at"]), _time(each["resolved_at"]), about, retrained)
        )
    return table


def _time(at: float | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"
