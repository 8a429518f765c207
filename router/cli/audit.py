"""`shepherd audit`: who changed what, when and why; and whether the record is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.table import Table

from router.cli.client import AdminClient
from router.cli.failures import CommandFailed
from router.cli.options import output_option, with_client
from router.cli.output import OutputFormat, show
from router.policy.audit import AuditEntry, verify_chain


@click.command()
@click.option("--verify", is_flag=True, help="Verify the hash chain; exit with 1 if it is broken.")
@click.option("-n", "--last", type=click.IntRange(min=1), help="Only the last N entries.")
@output_option
@with_client
def audit(client: AdminClient, verify: bool, last: int | None, output: OutputFormat) -> None:
    """Show administrative changes, oldest first."""
    entries = list(client.audit())
    if verify:
        _verify(entries, output)
        return
    shown = entries[-last:] if last else entries
    show(output, shown, lambda: _table(shown))


def _verify(entries: list[dict[str, Any]], output: OutputFormat) -> None:
    """Recompute every hash here, so that nobody need take the gateway's word."""
    broken = verify_chain(msgspec.convert(entries, list[AuditEntry]))
    if broken is not None:
        raise CommandFailed(f"the audit log is broken at entry {broken}: it was changed after it was written")
    result = {"entries": len(entries), "whole": True, "last_hash": entries[-1]["hash"] if entries else None}
    show(output, result, lambda: f"intact: {len(entries)} entries, last hash {result['last_hash'] or 'none'}")


def _table(entries: list[dict[str, Any]]) -> Table:
    table = Table("seq", "at", "actor", "action", "model", "revision", "reason", box=None, header_style="bold")
    for entry in entries:
        at = datetime.fromtimestamp(entry["at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        after = entry["after"] or {}
        table.add_row(
            str(entry["seq"]),
            at,
            entry["actor"],
            entry["action"],
            entry["model"],
            str(after.get("revision", "-")),
            entry["reason"],
        )
    return table
