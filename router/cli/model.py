"""`shepherd model`: what the registry holds and where each version stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from router.cli import registration
from router.cli.check import check
from router.cli.client import AdminClient
from router.cli.failures import CommandFailed
from router.cli.location import read_settings
from router.cli.options import output_option, preferred, read_tags, reported_failures, state_option, with_client
from router.cli.output import OutputFormat, show
from router.cli.profile import profile

_STYLE = {"ready": "green", "cold": "cyan", "failed": "bold red", "absent": "dim"}
#: Characters of a node's id that tell nodes apart; `-o json` gives all.
_NODE_SHOWN = 12
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(short_help="Register, check and show models.")
def model() -> None:
    """Register models, check them, and see the state of their versions."""


model.add_command(check)
model.add_command(profile)


@model.command("register", short_help="Register a version and print its number.")
@click.argument("file", type=_file, required=False)
@click.option(
    "--triton", "urls", multiple=True, metavar="URL", help="Triton server that has the model, instead of FILE."
)
@click.option("--triton-model", metavar="M", help="Name of the model there.")
@click.option("--triton-version", metavar="V", help="Version of the model there.  [default: Triton chooses]")
@click.option("--name", required=True, help="Name of the model; its next version is created.")
@click.option("--example", type=_file, help="V2 inference request; its answer is recorded as the golden example.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    help="Tag of the version, such as shepherd.max_replicas=2. Repeatable.",
)
@state_option
@click.option("--url", envvar="SHEPHERD_URL", help="Address of the admin API, instead of a state directory.")
@click.option("--token", envvar="SHEPHERD_TOKEN", help="Bearer token, instead of the state directory's.")
@output_option
def register(
    *,
    file: Path | None,
    urls: Sequence[str],
    triton_model: str | None,
    triton_version: str | None,
    name: str,
    example: Path | None,
    tags: Sequence[str],
    state: str | None,
    url: str | None,
    token: str | None,
    output: OutputFormat,
) -> None:
    """Register the ONNX file FILE, or a model on a Triton server, and print its version.

    Without a running gateway the registry of the state directory is written directly.
    """
    if bool(urls) != bool(triton_model) or bool(urls) == bool(file):
        raise click.UsageError("give FILE, or --triton URL with --triton-model M")
    options = read_tags(tags)
    if triton_model:
        options |= registration.triton_tags(urls, triton_model, triton_version)
    candidate = registration.Candidate(name, file, example.read_bytes() if example else None, options)
    with reported_failures():
        settings = read_settings({"state_dir": state}).settings
        version = registration.register(candidate, settings, preferred(state, url), token)
    show(output, {"name": name, "version": version}, lambda: str(version))


@model.command("list")
@output_option
@with_client
def list_models(client: AdminClient, output: OutputFormat) -> None:
    """List models and the state of their versions."""
    models = client.models()
    show(output, models, lambda: version_table(models))


@model.command("show")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="Only this version.")
@output_option
@with_client
def show_model(client: AdminClient, name: str, version: int | None, output: OutputFormat) -> None:
    """Show the versions of model NAME, with lineage."""
    shown = client.model(name)
    if version is not None:
        shown["versions"] = [each for each in shown["versions"] if each["version"] == version]
        if not shown["versions"]:
            raise CommandFailed(f"{name}: the registry has no version {version}")
    show(output, shown, lambda: version_table([shown], with_lineage=True))


def version_table(models: Sequence[dict[str, Any]], *, with_lineage: bool = False) -> Table:
    """Lay out models, one line per version and one per process that serves it."""
    last = "lineage" if with_lineage else "why"
    table = Table("model", "version", "state", "replicas", "pid", "node", "loaded", last, box=None, header_style="bold")
    for each in models:
        for status in each["versions"]:
            state = status["state"]
            shown = status["lineage"] | {"host": status.get("host"), "held by": ", ".join(status.get("holders", ()))}
            lineage = "\n".join(f"{key}: {value}" for key, value in shown.items() if value)
            replicas = status["replicas"]
            table.add_row(
                status["model"],
                str(status["version"]),
                Text(state, style=_STYLE.get(state, "yellow")),
                f"{len(replicas)}/{status['target_replicas']}",
                "\n".join(str(replica["pid"]) for replica in replicas),
                "\n".join(replica["node"][:_NODE_SHOWN] for replica in replicas),
                f"{status['load_s']:.1f} s" if status["load_s"] else "",
                "\n".join(filter(None, (status["reason"], lineage if with_lineage else ""))),
            )
    return table
