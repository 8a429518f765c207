"""`shepherd log`: the request log's accounting, its latest records, and the log as training data."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.failures import CommandFailed
from router.cli.location import redis_url
from router.cli.options import output_option, reported_failures, state_option, with_client
from router.cli.output import OutputFormat, show

if TYPE_CHECKING:
    from router.requestlog.record import Record

_redis_option = click.option("--redis-url", "redis", help="Redis with the log, instead of the state directory's.")


@click.group()
def log() -> None:
    """Read the log of requests and predictions."""


@log.command("stats", short_help="Show the log's accounting.")
@output_option
@with_client
def stats(client: AdminClient, output: OutputFormat) -> None:
    """Show how many requests were logged, sampled out and dropped, in total and by model."""
    accounting = client.log()
    show(output, accounting, lambda: accounting_table(accounting))


@log.command("tail", short_help="Show the latest records.")
@click.argument("model", required=False)
@click.option(
    "-n", "count", type=click.IntRange(min=0, max=100_000), default=10, show_default=True, help="Number of records."
)
@click.option("-f", "--follow", is_flag=True, help="Follow new records until Ctrl-C.")
@state_option
@_redis_option
@output_option
def tail(
    *, model: str | None, count: int, follow: bool, state: str | None, redis: str | None, output: OutputFormat
) -> None:
    """Show the latest records of MODEL or of all models, one per line; -o json has every field except payloads."""
    from router.cli.log_reading import Wanted, show_latest

    with reported_failures(), suppress(KeyboardInterrupt):  # which is how following ends
        url = redis or redis_url(state)
        show_latest(url, Wanted(model), count, lambda record: click.echo(_line(record, output)), follow=follow)


@log.command("export", short_help="Write the log as Parquet, joined with labels.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", help="Only this model.")
@click.option("--since", type=click.DateTime(), help="Only records from this time (UTC) on.")
@click.option("--as-of", type=click.DateTime(), help="Only records and labels that existed at this time (UTC).")
@state_option
@_redis_option
@output_option
def export(
    *,
    folder: Path,
    model: str | None,
    since: datetime | None,
    as_of: datetime | None,
    state: str | None,
    redis: str | None,
    output: OutputFormat,
) -> None:
    """Write the log to FOLDER as Parquet, one folder per model and day, joined with the labels received.

    With --as-of, only labels known at that time are joined: a training set without knowledge of the future.
    """
    try:
        from router.adapters.parquet.folder import ParquetFolder
    except ImportError:
        raise CommandFailed("Parquet needs pyarrow: pip install 'model-shepherd[export]'") from None
    from router.cli.log_reading import Wanted, export_log

    wanted = Wanted(model, _seconds(since, 0.0), _seconds(as_of, float("inf")))
    with reported_failures():
        total = export_log(redis or redis_url(state), wanted, ParquetFolder(folder))._asdict()
    show(output, total, lambda: ", ".join(f"{count} {what}" for what, count in total.items()))


def accounting_table(accounting: dict[str, Any]) -> Table:
    """Lay out the accounting: requests = logged + sampled out + dropped, line by line."""
    table = Table("request log", "requests", "logged", "sampled out", "dropped", box=None, header_style="bold")
    for name, line in [("total", accounting), *sorted(accounting.get("models", {}).items())]:
        dropped = {reason: count for reason, count in line.get("dropped", {}).items() if count}
        table.add_row(
            name,
            *(str(line.get(column, 0)) for column in ("requests", "logged", "sampled_out")),
            ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "0",
            style="red" if dropped else "",
        )
    return table


def _seconds(moment: datetime | None, default: float) -> float:
    return default if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _line(record: Record, output: OutputFormat) -> str:
    if output == "json":
        named = {name: getattr(record, name) for name in record.__struct_fields__ if name not in {"inputs", "outputs"}}
        return msgspec.json.encode(named).decode()
    at = datetime.fromtimestamp(record.at, UTC).strftime("%H:%M:%S.%f")[:-3]
    who = f"{record.model or '-'} v{record.version} {record.variant or '-'} ({record.reason or '-'})"
    kind = "" if record.kind == "primary" else f" {record.kind}"
    return f"{at} {who}{kind} {record.outcome} {record.duration_us / 1000:.2f} ms {record.request_id} {record.message}"
