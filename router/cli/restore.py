"""`shepherd rollback` and `shepherd undo`: back to an earlier policy."""

from __future__ import annotations

from typing import Any

import click
from rich.console import ConsoleRenderable, Group
from rich.text import Text

from router.cli.client import AdminClient
from router.cli.options import output_option, reason_option, with_client
from router.cli.output import OutputFormat, show
from router.cli.traffic import policy_table

dry_run_option = click.option("--dry-run", is_flag=True, help="Show the effect and change nothing.")


@click.command()
@click.argument("model")
@dry_run_option
@reason_option
@output_option
@with_client
def rollback(client: AdminClient, *, model: str, dry_run: bool, reason: str, output: OutputFormat) -> None:
    """Restore MODEL's last good policy at once.

    During a rollout that is the policy from before it; otherwise the one from before the newest version. Its versions
    are still loaded. Repeat to go further back; rolled-back policies are skipped.
    """
    written = client.rollback(model, reason, dry_run=dry_run)
    show(output, written, lambda: restored(written))


@click.command()
@click.argument("model")
@click.option("--revision", type=click.IntRange(min=1), help="Revision to restore.  [default: the previous one]")
@dry_run_option
@reason_option
@output_option
@with_client
def undo(
    client: AdminClient, *, model: str, revision: int | None, dry_run: bool, reason: str, output: OutputFormat
) -> None:
    """Restore the policy of an earlier revision of MODEL."""
    written = client.undo(model, revision, reason, dry_run=dry_run)
    show(output, written, lambda: restored(written))


def restored(written: dict[str, Any]) -> ConsoleRenderable:
    """Lay out the policy that stands, or would."""
    impact = written.get("impact")
    if impact is None:
        return policy_table([written])
    loading = ", ".join(map(str, impact["versions_to_load"])) or "none"
    line = f"would move {100 * impact['moved_share']:.1f}% of the keys; versions to load: {loading}"
    return Group(policy_table([written]), Text(line))
