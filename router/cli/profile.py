"""`shepherd model profile`: make a version's reference profile from a table and attach it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table as RichTable

from router.cli.failures import CommandFailed
from router.cli.location import read_settings
from router.cli.options import output_option, reported_failures, state_option
from router.cli.output import OutputFormat, show
from router.performance.baseline import Task
from serving.protocol.errors import ServingError

if TYPE_CHECKING:
    from router.control.profiling import Table
    from router.drift.profile import Profile
    from router.settings import Settings

_TASKS = [task.value for task in Task]
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("profile", short_help="Attach a reference profile to a version.")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), required=True, help="Version to profile.")
@click.option("--data", type=_file, required=True, help="CSV with header: training or, better, validation rows.")
@click.option("--label", help="Column of --data with the true answers, the baseline for performance drops.")
@click.option("--extra", multiple=True, metavar="COLUMN", help="Column that is neither feature nor label.")
@click.option("--categorical", multiple=True, metavar="COLUMN", help="Column whose numbers are categories.")
@click.option(
    "--time",
    metavar="COLUMN",
    help="Column with each row's time: windows are compared with the same hours of the day.",
)
@click.option(
    "--classes", default="", metavar="NAME,NAME", help="Names of the classes, in the order of the model's numbers."
)
@click.option("--task", type=click.Choice(_TASKS), help="What the model predicts.  [default: derived from the labels]")
@click.option("--score", default="", metavar="OUTPUT", help="Output column with the score, such as probabilities[1].")
@click.option(
    "--stretches",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Rows are in time order: split them into N parts and tolerate drift seen between parts.",
)
@state_option
@click.option("--registry", help="MLflow tracking server, instead of the state directory's registry.")
@output_option
def profile(
    *,
    name: str,
    version: int,
    data: Path,
    label: str | None,
    extra: tuple[str, ...],
    categorical: tuple[str, ...],
    time: str | None,
    classes: str,
    task: str | None,
    score: str,
    stretches: int,
    state: str | None,
    registry: str | None,
    output: OutputFormat,
) -> None:
    """Run version V of model NAME on a table and attach inputs and predictions as its reference profile.

    A version keeps its first profile; attaching the same one again is allowed.
    """
    with reported_failures():
        settings = read_settings({"state_dir": state, "registry_uri": registry}).settings
        text = data.read_text("utf-8-sig")
        from router.control.profiling import Table

        chosen = Task(task) if task else None
        names = tuple(part.strip() for part in classes.split(",") if part.strip())
        table = Table(text, label, extra, categorical, time, names, chosen, score, stretches)
        made = _attach(settings, name, version, table)
    document = _summary(name, version, made)
    show(output, document, lambda: _render(document))


def _attach(settings: Settings, name: str, version: int, table: Table) -> Profile:
    # onnxruntime and MLflow come with these
    from router.control.catalogue import open_registry
    from router.control.profiling import attach_profile
    from serving.registry.mlflow import RegistryUnavailable

    try:
        registry = open_registry(settings)
        try:
            return attach_profile(registry, name, version, table)
        finally:
            registry.close()
    except (ServingError, RegistryUnavailable) as error:
        raise CommandFailed(str(error)) from None


def _summary(name: str, version: int, made: Profile) -> dict[str, Any]:
    from router.drift.profile import encode_profile, profile_sha256

    return {
        "model": name,
        "version": version,
        "sha256": profile_sha256(encode_profile(made)),
        "rows": made.rows,
        "columns": [column.name for column in made.columns],
        "task": made.task.value if made.task else None,
        "score": made.score or None,
        "baselines": [
            {"metric": each.metric.value, "value": each.value, "low": each.low, "high": each.high, "n": each.n}
            for each in made.baselines
        ],
    }


def _render(document: dict[str, Any]) -> RichTable:
    title = f"{document['model']} version {document['version']}: {document['rows']} rows, {document['sha256'][:12]}"
    table = RichTable("baseline", "value", "95 % interval", "rows", box=None, header_style="bold", title=title)
    for each in document["baselines"]:
        table.add_row(
            each["metric"], f"{each['value']:.4g}", f"{each['low']:.4g} to {each['high']:.4g}", str(each["n"])
        )
    if not document["baselines"]:
        table.add_row("none: give --label to detect performance drops", "", "", "")
    return table
