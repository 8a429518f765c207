"""`shepherd key`: who may ask which models, where the data plane asks for keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.table import Table

from router.access.scope import ORDINARY, Action
from router.cli.client import AdminClient
from router.cli.durations import parse_span
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, show

_reason = click.option("--reason", default="", help="Reason, recorded in the audit log.")


@click.group(short_help="Create and revoke API keys of the inference ports.")
def key() -> None:
    """Create and revoke API keys for the HTTP and gRPC ports; checked if `api_keys` is `required`."""


@key.command("create")
@click.argument("name")
@click.option("--models", required=True, metavar="MODEL,MODEL", help="Models it may use; `*` matches any characters.")
@click.option(
    "--actions",
    metavar="ACTION,ACTION",
    help=f"Actions it may perform, of {', '.join(Action)}.  [default: {', '.join(sorted(ORDINARY))}]",
)
@click.option("--expires", metavar="SPAN", help="Time until it expires, such as 12h or 90d.  [default: never]")
@_reason
@with_client
@output_option
def create_key(
    client: AdminClient,
    *,
    name: str,
    models: str,
    actions: str | None,
    expires: str | None,
    reason: str,
    output: OutputFormat,
) -> None:
    """Create a key for NAME and print it once."""
    wanted: dict[str, Any] = {"name": name, "models": _listed(models)}
    if actions is not None:
        wanted["actions"] = _listed(actions)
    if expires is not None:
        try:
            wanted["expires_in_s"] = parse_span(expires)
        except ValueError as error:
            raise click.UsageError(f"--expires {error}") from None
    made = client.create_key(wanted, reason)
    show(output, made, lambda: made["key"])


@key.command("list")
@with_client
@output_option
def list_keys(client: AdminClient, *, output: OutputFormat) -> None:
    """List keys and what they may do."""
    keys = client.keys()

    def render() -> Table:
        table = Table("name", "models", "actions", "expires", box=None, header_style="bold")
        for each in keys:
            table.add_row(
                each["name"], ", ".join(each["models"]), ", ".join(each["actions"]), _shown(each["expires_at"])
            )
        return table

    show(output, keys, render)


@key.command("revoke")
@click.argument("name")
@_reason
@with_client
def revoke_key(client: AdminClient, *, name: str, reason: str) -> None:
    """Revoke the key of NAME on every router within a second."""
    client.revoke_key(name, reason)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _shown(expires_at: float | None) -> str:
    return "never" if expires_at is None else datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
