"""`shepherd rollout`: a version's way to all of the traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import click
from rich.live import Live

from router.cli.client import AdminClient
from router.cli.failures import Differs
from router.cli.options import output_option, reason_option, with_client
from router.cli.output import OutputFormat, console, show, show_json
from router.cli.restore import dry_run_option
from router.cli.rollout_view import rollout_panel, rollout_table
from router.cli.shares import parse_percent

_OVER: Final = {"succeeded", "failed", "aborted", "superseded"}
_WATCH_S: Final = 0.5


@click.group(short_help="Roll out a version in steps.")
def rollout() -> None:
    """Roll out a version in steps, compared with a control arm of the same size."""


@rollout.command("start")
@click.argument("model")
@click.option("--version", type=click.IntRange(min=1), required=True, help="Version to roll out.")
@click.option("--steps", metavar="PERCENT,...", help="Shares of the traffic.  [default: 1,5,25,100]")
@click.option("--shadow", metavar="PERCENT", help="Start as a shadow that gets copies of this share of the requests.")
@click.option("--min-requests", type=click.IntRange(min=1), help="Minimum canary answers at each step.  [default: 100]")
@click.option(
    "--min-time",
    "min_time_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Minimum seconds at each step.  [default: 30]",
)
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="KIND[,NAME=VALUE...]",
    help="error_rate, latency, shadow_agreement, prediction, label_metric.  [default: error_rate and latency]",
)
@click.option("--no-checks", is_flag=True, help="Use only requests and time; hard failures still roll back.")
@click.option(
    "--bake",
    "bake_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Seconds to watch after promotion.  [default: 30]",
)
@click.option(
    "--at", "start_at", metavar="TIME", help="Start at this time at the earliest, such as 2026-03-01T09:00+01:00."
)
@click.option("--gate", "gates", multiple=True, metavar="KIND=URL", help="Webhook that must confirm, or is notified.")
@click.option("--force", is_flag=True, help="Start even during the cool-down after a rollback.")
@dry_run_option
@reason_option
@output_option
@with_client
def start_rollout(
    client: AdminClient, *, model: str, dry_run: bool, reason: str, output: OutputFormat, **given: Any
) -> None:
    """Start a rollout of a version of MODEL.

    \b
    shepherd rollout start risk --version 4 --steps 1,5,25,100 --check error_rate,margin=0.01 --reason "weekly model"

    Blue/green is the plan --steps 100 --bake 600.
    """  # noqa: D301 - click knows a paragraph that is not to be wrapped by its backspace
    started = client.start_rollout(model, _plan(given), reason, dry_run=dry_run)
    show(output, started, lambda: rollout_panel(started))


@rollout.command("status")
@click.argument("model", required=False)
@click.option("-w", "--watch", is_flag=True, help="Keep showing it until it is over; exit with 6 unless it succeeded.")
@output_option
@with_client
def show_status(client: AdminClient, model: str | None, watch: bool, output: OutputFormat) -> None:
    """Show the last rollout of MODEL, or of every model."""
    if model is None:
        if watch:
            raise click.UsageError("--watch needs a MODEL")
        rollouts = client.rollouts()
        show(output, rollouts, lambda: rollout_table(rollouts))
        return
    if not watch:
        shown = client.rollout(model)
        show(output, shown, lambda: rollout_panel(shown))
        return
    last = _watch(client, model, output)
    if last["phase"] != "succeeded":
        raise Differs(f"the rollout of {model} version {last['version']} {last['phase']}: {last['words']}")


def _act(name: str, summary: str) -> None:
    """Add a command that does one thing to a rollout."""

    @rollout.command(name, help=f"{summary} MODEL's rollout.")
    @click.argument("model")
    @reason_option
    @output_option
    @with_client
    def act(client: AdminClient, *, model: str, reason: str, output: OutputFormat) -> None:
        changed = client.act_on_rollout(model, name, reason)
        show(output, changed, lambda: rollout_panel(changed))


_act("pause", "Pause")
_act("resume", "Resume")
_act("abort", "Restore the previous policy and end")


@rollout.command("promote")
@click.argument("model")
@click.option("--full", is_flag=True, help="Go to all of the traffic, not only the next step.")
@reason_option
@output_option
@with_client
def promote_rollout(client: AdminClient, *, model: str, full: bool, reason: str, output: OutputFormat) -> None:
    """Go to the next step of MODEL's rollout, whatever the checks say."""
    changed = client.act_on_rollout(model, "promote", reason, full=full)
    show(output, changed, lambda: rollout_panel(changed))


def _watch(client: AdminClient, model: str, output: OutputFormat) -> dict[str, Any]:
    """Show a rollout until it is over; as JSON, one document for each change of phase or step."""
    if output == "json":
        return _follow(client, model, show_json, only_news=True)
    with Live(console=console(), auto_refresh=False) as live:
        return _follow(client, model, lambda shown: live.update(rollout_panel(shown), refresh=True), only_news=False)


def _follow(
    client: AdminClient, model: str, tell: Callable[[dict[str, Any]], None], *, only_news: bool
) -> dict[str, Any]:
    told = -1
    while True:
        shown = client.rollout(model)
        if not only_news or len(shown["moments"]) != told:
            told = len(shown["moments"])
            tell(shown)
        if shown["phase"] in _OVER:
            return shown
        time.sleep(_WATCH_S)


def _plan(given: dict[str, Any]) -> dict[str, Any]:
    """Make the body of a start from the options that were given."""
    plan = {
        name: given[name] for name in ("version", "min_requests", "min_time_s", "bake_s") if given[name] is not None
    }
    if given["steps"]:
        plan["steps"] = _read_shares("--steps", given["steps"])
    if given["shadow"]:
        plan["shadow"] = {"sample": _read_shares("--shadow", given["shadow"])[0]}
    if given["checks"] and given["no_checks"]:
        raise click.UsageError("--check and --no-checks contradict each other")
    if given["checks"] or given["no_checks"]:
        plan["checks"] = [_read_check(text) for text in given["checks"]]
    if given["gates"]:
        plan["gates"] = _read_gates(given["gates"])
    if given["start_at"]:
        plan["start_at"] = _read_time(given["start_at"])
    if given["force"]:
        plan["force"] = True
    return plan


def _read_shares(option: str, text: str) -> list[int]:
    try:
        return [parse_percent(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def _read_check(text: str) -> dict[str, Any]:
    kind, *settings = text.split(",")
    check: dict[str, Any] = {"kind": kind.strip()}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--check {text}: expected KIND,NAME=VALUE")
        check[name.strip()] = _read_value(value.strip())
    return check


def _read_value(text: str) -> float | bool | str:
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _read_gates(texts: Sequence[str]) -> list[dict[str, str]]:
    gates = []
    for text in texts:
        kind, equals, url = text.partition("=")
        if not equals:
            raise click.UsageError(f"--gate {text}: expected KIND=URL, as confirm_promotion=https://hooks.example/ok")
        gates.append({"kind": kind.replace("-", "_"), "url": url})
    return gates


def _read_time(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--at {text}: expected a time as 2026-03-01T09:00+01:00") from None
    if at.tzinfo is None:
        raise click.UsageError(f"--at {text}: add the offset from UTC, as +01:00 or Z; the gateway may be elsewhere")
    return at.timestamp()
