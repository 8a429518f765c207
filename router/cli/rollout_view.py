"""How a rollout looks in a terminal: where it stands at a glance, then why, then how it came there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import ConsoleRenderable, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from router.cli.shares import format_percent

_STYLE: Final = {
    "succeeded": "bold green",
    "failed": "bold red",
    "aborted": "bold yellow",
    "superseded": "bold yellow",
    "rolling_back": "red",
    "aborting": "yellow",
    "holding": "yellow",
    "paused": "yellow",
}
_MARK: Final = {"pass": ("✓", "green"), "fail": ("✗", "bold red"), "inconclusive": ("…", "yellow")}
_BAR_WIDTH: Final = 40
_MOMENTS_SHOWN: Final = 8


def rollout_table(rollouts: Sequence[dict[str, Any]]) -> Table:
    """Lay out rollouts, one line each."""
    table = Table("model", "version", "phase", "share", "why", box=None, header_style="bold")
    for rollout in rollouts:
        phase = Text(rollout["phase"], style=_STYLE.get(rollout["phase"], "cyan"))
        share = format_percent(rollout["share_bp"])
        table.add_row(rollout["model"], str(rollout["version"]), phase, share, rollout["words"])
    return table


def rollout_panel(rollout: dict[str, Any]) -> ConsoleRenderable:
    """Lay out one rollout."""
    style = _STYLE.get(rollout["phase"], "cyan")
    head = Text.assemble(
        (rollout["phase"], style),
        ("   " + _bar(rollout["share_bp"]), style),
        f"  {format_percent(rollout['share_bp'])} of the traffic",
    )
    parts: list[ConsoleRenderable] = [head, _steps(rollout), Text(rollout["words"], style="italic")]
    if rollout["findings"]:
        parts += [Text(), _findings(rollout["findings"])]
    parts += [Text(), _moments(rollout["moments"][-_MOMENTS_SHOWN:])]
    title = f"{rollout['model']}  version {rollout['stable_version']} → {rollout['version']}"
    return Panel(Group(*parts), title=title, title_align="left", border_style=style, expand=False, padding=(0, 1))


def _bar(share_bp: int) -> str:
    filled = round(_BAR_WIDTH * share_bp / 10_000)
    return "█" * filled + "░" * (_BAR_WIDTH - filled)


def _steps(rollout: dict[str, Any]) -> Text:
    """Show the plan's steps: passed, current, to come."""
    done = rollout["phase"] in {"baking", "succeeded"}
    text = Text("steps  ")
    for position, step in enumerate(rollout["plan"]["steps"]):
        passed = done or position < rollout["step"]
        current = position == rollout["step"] and not done
        mark, style = ("✓", "green") if passed else ("▶", "bold cyan") if current else ("·", "dim")
        text.append(f"{mark} {format_percent(step)}  ", style=style)
    return text


def _findings(findings: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for finding in findings:
        mark, style = _MARK[finding["verdict"]]
        name = finding["check"] + (" (dry run)" if finding["dry_run"] else "")
        table.add_row(Text(mark, style=style), name, Text(finding["words"], style="dim" if finding["dry_run"] else ""))
    return table


def _moments(moments: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for moment in moments:
        at = datetime.fromtimestamp(moment["at"], UTC).strftime("%H:%M:%SZ")
        table.add_row(Text(at, style="dim"), moment["phase"], format_percent(moment["share_bp"]), moment["words"])
    return table
