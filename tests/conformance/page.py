"""Prints outcomes as docs/conformance.md. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.kit import Outcome, Verdict

_HEAD = """# Conformance

What stock clients get from a live gateway, method by method. Written by `make conformance`; do not edit.

Refused on purpose, each with its reason: shared memory (a name from the network must not choose memory of this
machine), and changes of log and trace settings (set at start, the same for all routers). Refused likewise, without a
line below: files and configurations in a load request (models come from the registry), loading and unloading without a
token of the admin API, and unloading a version that a policy names.
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """Count, then one table for all methods by client."""
    clients = list(dict.fromkeys(outcome.client for outcome in outcomes))
    counts = {verdict: sum(outcome.verdict is verdict for outcome in outcomes) for verdict in Verdict}
    lines = [_HEAD, f"{len(outcomes)} calls: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + ".\n"]
    for client in clients:
        lines += [f"## {client}\n", "| method | | remark |", "|---|---|---|"]
        lines += [
            f"| {outcome.method} | {outcome.verdict} | {outcome.remark.replace('|', '/')[:160]} |"
            for outcome in outcomes
            if outcome.client == client
        ]
        lines.append("")
    return "\n".join(lines)
