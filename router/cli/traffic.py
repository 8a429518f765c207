"""`shepherd traffic`: who answers a model's requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.failures import CommandFailed
from router.cli.options import output_option, reason_option, with_client
from router.cli.output import OutputFormat, show
from router.cli.shares import format_percent, parse_variants


@click.group()
def traffic() -> None:
    """Show and move traffic between versions."""


@traffic.command("show")
@click.argument("model", required=False)
@output_option
@with_client
def show_traffic(client: AdminClient, model: str | None, output: OutputFormat) -> None:
    """Show the policy of MODEL, or of every model."""
    if model is None:
        policies = client.policies()
        show(output, policies, lambda: policy_table(policies))
        return
    document = require_policy(client, model)[0]
    show(output, document, lambda: policy_table([document]))


@traffic.command("set")
@click.argument("model")
@click.argument("shares", nargs=-1, required=True, metavar="NAME=VERSION:PERCENT...")
@click.option("--sticky", metavar="BY:NAME", help="Key of the split: header:NAME, parameter:NAME or request_id.")
@click.option("--force", is_flag=True, help="Also raise a version that was just rolled back for hard failures.")
@reason_option
@output_option
@with_client
def set_traffic(
    client: AdminClient,
    *,
    model: str,
    shares: Sequence[str],
    sticky: str | None,
    force: bool,
    reason: str,
    output: OutputFormat,
) -> None:
    """Set the shares of MODEL's versions, once they are ready.

    \b
    shepherd traffic set flight-delay stable=3:95% canary=4:5% --reason "first 5 %"

    Rules and shadows are kept, and so is the sticky key unless --sticky is given.
    """  # noqa: D301 - click knows a paragraph that is not to be wrapped by its backspace
    change: dict[str, Any] = {"variants": _read_shares(shares)}
    if sticky is not None:
        change["sticky"] = _read_sticky(sticky)
    standing = client.policy(model)
    if standing is None:
        written = client.create_policy(model, change, reason)
    else:
        written = client.patch_policy(model, change, reason, standing.etag, force=force)
    show(output, written, lambda: policy_table([written]))


@traffic.command("explain")
@click.argument("model")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A request header.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME:VALUE", help="A request parameter.")
@click.option("--version", type=click.IntRange(min=1), help="Version that the URL pins.")
@click.option("--request-id", default="", help="Request id.  [default: a random one]")
@output_option
@with_client
def explain_traffic(
    client: AdminClient,
    *,
    model: str,
    headers: Sequence[str],
    parameters: Sequence[str],
    version: int | None,
    request_id: str,
    output: OutputFormat,
) -> None:
    """Show where a request for MODEL would go, and why."""
    question = {
        "headers": read_pairs(headers),
        "parameters": read_pairs(parameters),
        "version": version,
        "request_id": request_id,
    }
    answer = client.explain(model, question)
    show(output, answer, lambda: _explanation(answer))


def require_policy(client: AdminClient, model: str) -> tuple[dict[str, Any], str]:
    """Read a policy that must exist: document and ETag."""
    standing = client.policy(model)
    if standing is None:
        raise CommandFailed(f"{model} has no policy; create one with `shepherd traffic set`")
    return standing


def read_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Read `name:value` options; the value may hold further colons."""
    pairs = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"{text}: expected NAME:VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def policy_table(policies: Sequence[dict[str, Any]]) -> Table:
    """Lay out policies, one line per variant and shadow."""
    table = Table("model", "revision", "variant", "version", "share", "key", box=None, header_style="bold")
    for policy in policies:
        sticky = policy.get("sticky", {})
        key = " ".join(filter(None, (sticky.get("by", "request_id"), sticky.get("name", ""))))
        first = [policy["model"], str(policy["revision"])]
        for variant in policy["variants"]:
            share = format_percent(variant["weight"])
            table.add_row(*first, variant["name"], str(variant["version"]), share, key)
            first, key = ["", ""], ""
        for shadow in policy.get("shadows", ()):
            table.add_row("", "", "shadow", str(shadow["version"]), f"{format_percent(shadow['sample'])} copied", "")
        for rule in policy.get("rules", ()):
            condition = " ".join(f"{key} {value}" for key, value in rule["when"].items())
            table.add_row("", "", rule["variant"], "", f"if {condition}", "")
    return table


def _read_shares(shares: Sequence[str]) -> list[dict[str, Any]]:
    try:
        return parse_variants(shares)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _read_sticky(text: str) -> dict[str, str | None]:
    by, _, name = text.partition(":")
    # null takes away the name that another kind of key had
    return {"by": by, "name": name or None}


def _explanation(answer: dict[str, Any]) -> Table:
    """Lay out a decision: the answer first, then what led to it."""
    split = answer["split"]
    table = Table(box=None, show_header=False)
    table.add_row("goes to", f"{answer['variant'] or '-'} (version {answer['version']})", style="bold")
    table.add_row("because", answer["reason"])
    for index, rule in enumerate(answer["rules"]):
        condition = " ".join(f"{key} {value}" for key, value in rule["when"].items())
        outcome = f"-> {rule['variant']}" if rule["matched"] else "does not match"
        table.add_row(f"rule {index}", f"if {condition}: {outcome}")
    table.add_row("key", f"{split['key']} (from {split['key_from']})")
    for bid in split["variants"]:
        # The smallest bid for the key wins; a dark launch bids nothing.
        score = f"bids {bid['score']:.4g}" if bid["score"] is not None else "bids nothing"
        note = "" if bid["available"] else ", not ready"
        table.add_row("split", f"{bid['variant']} at {format_percent(bid['weight'])} {score}{note}")
    for shadow in answer["shadows"]:
        copied = "copied" if shadow["mirrored"] else "not copied"
        table.add_row("shadow", f"version {shadow['version']} at {format_percent(shadow['sample'])}: {copied}")
    return table
