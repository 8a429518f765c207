"""`shepherd doctor`: what is missing here, and how to fix it."""

from __future__ import annotations

import click
import msgspec
from rich.table import Table
from rich.text import Text

from router.cli import door_check, machine_checks, place_checks
from router.cli.failures import CommandFailed
from router.cli.findings import Finding
from router.cli.options import output_option, with_settings
from router.cli.output import OutputFormat, show
from router.settings import Settings
from router.settings_sources import ResolvedSettings

_STYLE = {"ok": "green", "warning": "yellow", "broken": "bold red"}


@click.command(short_help="Check this machine and the settings.")
@with_settings
@output_option
def doctor(resolved: ResolvedSettings, output: OutputFormat) -> None:
    """Check this machine and the settings; exit with 1 if the gateway could not run."""
    findings = examine(resolved.settings)
    show(output, [msgspec.to_builtins(finding) for finding in findings], lambda: _table(findings))
    broken = sum(finding.verdict == "broken" for finding in findings)
    if broken:
        raise CommandFailed(f"{broken} of {len(findings)} checks failed")


def examine(settings: Settings) -> list[Finding]:
    """Run every check."""
    return [
        machine_checks.check_python(),
        machine_checks.check_packages(),
        machine_checks.check_onnxruntime(),
        machine_checks.check_gpu(),
        machine_checks.check_valkey(),
        machine_checks.check_shared_memory(),
        machine_checks.check_open_files(),
        place_checks.check_state_dir(settings),
        *place_checks.check_ports(settings),
        door_check.check_envoy(settings),
        place_checks.check_redis(settings),
        place_checks.check_registry(settings),
    ]


def _table(findings: list[Finding]) -> Table:
    table = Table("", "check", "seen", "how to fix", box=None, header_style="bold")
    for finding in findings:
        table.add_row(Text(finding.verdict, style=_STYLE[finding.verdict]), finding.check, finding.seen, finding.mend)
    return table
