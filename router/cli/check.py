"""`shepherd model check`: the validation gate on demand, for the CI of whoever trains the model."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import click
import msgspec
from rich.table import Table
from rich.text import Text

from router.cli.failures import CommandFailed
from router.cli.junit import junit
from router.cli.location import read_settings
from router.cli.options import output_option, read_tags, reported_failures, state_option
from router.cli.output import OutputFormat, show
from router.settings import Settings
from serving.protocol.errors import ServingError

if TYPE_CHECKING:
    from serving.registry.finding import Report
    from serving.registry.registry import Registry
    from serving.registry.scoring import Labelled, Metric

#: A check of the version has failed; 1 is kept for commands that could not be carried out.
FAILED = 5
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[^/]+))")
_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Asked(NamedTuple):
    """What to hold a version to, beside what it brings along."""

    example: bytes | None
    tags: dict[str, str]
    labelled: Labelled | None


@click.command("check", short_help="Check a version as the gateway would.")
@click.argument("subject", metavar="URI|FILE|FOLDER")
@click.option("--example", type=_file, help="V2 inference request to try FILE with.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Tag to check FILE with.")
@click.option("--data", type=_file, help="Labelled CSV to score the model on.")
@click.option("--label", help="Column of --data with the true answers.")
@click.option("--metric", type=click.Choice(["accuracy", "mae", "rmse"]), default="accuracy", show_default=True)
@click.option("--threshold", type=float, help="Accuracy to reach, or error not to exceed.")
@click.option(
    "--slice", "slices", multiple=True, metavar="COLUMN", help="Also score the rows of each value of this column."
)
@click.option("--max-slice-gap", type=float, help="How much worse than the total a slice may be.")
@click.option("--junit", "junit_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML.")
@state_option
@click.option("--registry", help="MLflow tracking server, instead of the state directory's registry.")
@output_option
def check(
    *,
    subject: str,
    example: Path | None,
    tags: Sequence[str],
    data: Path | None,
    label: str | None,
    metric: str,
    threshold: float | None,
    slices: tuple[str, ...],
    max_slice_gap: float | None,
    junit_file: Path | None,
    state: str | None,
    registry: str | None,
    output: OutputFormat,
) -> None:
    """Check a version as the gateway would before it serves it: exit status 0 if it may serve, 5 if not.

    The version is one of the registry (models:/NAME/3, models:/NAME@champion), an ONNX file, or a folder as
    mlflow.onnx.log_model writes it.
    """
    if (data is None) != (label is None):
        raise click.UsageError("--data and --label go together")
    with reported_failures():
        labelled = None
        if data is not None and label is not None:
            from serving.registry.scoring import Labelled

            of = cast("Metric", metric)
            labelled = Labelled(data.read_text("utf-8"), label, of, threshold, slices, max_slice_gap)
        asked = _Asked(example.read_bytes() if example else None, read_tags(tags), labelled)
        report = _check(subject, asked, read_settings({"state_dir": state, "registry_uri": registry}).settings)
        if junit_file:
            junit_file.write_text(junit(report), encoding="utf-8")
    show(output, {"passed": report.passed, **msgspec.to_builtins(report)}, lambda: _table(report))
    if not report.passed:
        raise SystemExit(FAILED)


def _check(subject: str, asked: _Asked, settings: Settings) -> Report:
    # onnxruntime and, for a registry, MLflow come with these
    from router.control.specs import reach_of
    from serving.registry.finding import Report, failed
    from serving.registry.gate import check_version
    from serving.registry.model_files import place_model

    def checked(folder: Path, tags: dict[str, str]) -> Report:
        return check_version(subject, folder, tags, reach_of(settings), example=asked.example, labelled=asked.labelled)

    if uri := _URI.fullmatch(subject):
        with _registry(settings) as registry:
            try:
                artifact = registry.fetch(registry.resolve(uri["name"], uri["version"] or uri["alias"]))
            except ServingError as error:
                return Report(subject, (failed("fetch", str(error), "mend what it says"),))
            return checked(artifact.dir, {**artifact.info.tags, **asked.tags})
    path = Path(subject)
    if path.is_dir():
        return checked(path, asked.tags)
    if not path.is_file():
        raise CommandFailed(
            f"{subject}: no such file or folder, and no URI as models:/NAME/VERSION or models:/NAME@ALIAS"
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            place_model(Path(folder), path)
        except ServingError as error:
            return Report(subject, (failed("graph", str(error), "export the model again"),))
        return checked(Path(folder), asked.tags)


@contextmanager
def _registry(settings: Settings) -> Iterator[Registry]:
    from router.control.catalogue import open_registry
    from serving.registry.mlflow import RegistryUnavailable

    try:
        registry = open_registry(settings)
        try:
            yield registry
        finally:
            registry.close()
    except RegistryUnavailable as error:
        raise CommandFailed(str(error)) from None


def _table(report: Report) -> Table:
    table = Table("check", "verdict", "seen", "to do", box=None, header_style="bold", title=report.subject)
    for finding in report.findings:
        table.add_row(finding.check, Text(finding.verdict, style=_STYLE[finding.verdict]), finding.seen, finding.mend)
    return table
