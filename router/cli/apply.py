"""`shepherd apply` and `shepherd get`: policies as files, for a Git repository and its CI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
from rich.console import ConsoleRenderable, Group
from rich.text import Text

from router.cli.client import AdminClient
from router.cli.failures import Differs, WrongSetting
from router.cli.manifests import Difference, ManifestError, canonical, compare, diff_lines, read_manifests, render
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, show, show_json
from router.cli.traffic import require_policy

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@click.command(short_help="Make the gateway's policies match files.")
@click.option(
    "-f", "--file", "path", required=True, type=click.Path(exists=True, path_type=Path), help="File or folder of YAML."
)
@click.option("--prune", is_flag=True, help="Also remove policies that are in no file.")
@click.option("--dry-run", is_flag=True, help="Show the difference and change nothing; exit with 6 if there is one.")
@click.option("--reason", default="apply", show_default=True, help="Reason, recorded in the audit log.")
@output_option
@with_client
def apply(client: AdminClient, *, path: Path, prune: bool, dry_run: bool, reason: str, output: OutputFormat) -> None:
    """Make the gateway's policies match the files: all changes or none. The difference is shown first."""
    try:
        differences = compare(read_manifests(path), client.policies(), prune=prune)
    except ManifestError as error:
        raise WrongSetting(str(error)) from None
    shown = [difference._asdict() for difference in differences]
    show(output, shown, lambda: _diff(differences))
    if not differences:
        return
    changes = [{"model": each.model, "revision": each.revision, "policy": each.after} for each in differences]
    if dry_run:
        client.change_policies(changes, reason, dry_run=True)
        raise Differs(f"{len(differences)} policies differ from the files")
    client.change_policies(changes, reason)
    click.echo(f"{len(differences)} policies changed", err=True)


@click.command(short_help="Print policies as `apply` reads them.")
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@with_client
def get(client: AdminClient, models: Sequence[str], output: Literal["yaml", "json"]) -> None:
    """Print the policies of MODELs, or of all, as `apply` reads them."""
    policies = [require_policy(client, model)[0] for model in models] if models else client.policies()
    if output == "json":
        show_json([canonical(policy) for policy in policies])
    else:
        click.echo(render(policies), nl=False)


def _diff(differences: Sequence[Difference]) -> ConsoleRenderable:
    if not differences:
        return Text("nothing to change", style="dim")
    lines = [line for difference in differences for line in diff_lines(difference)]
    return Group(*(Text(line, style=_STYLES.get(line[:1], "")) for line in lines))
