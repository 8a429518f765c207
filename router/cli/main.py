"""`shepherd`: start a gateway, move traffic, see what happens."""

from __future__ import annotations

import click

from router.cli import (
    apply,
    audit,
    doctor,
    experiment,
    feedback,
    infer,
    key,
    log,
    model,
    monitoring,
    node,
    restore,
    rollout,
    shadow,
    status,
    token,
    traffic,
)

_EPILOG = """\b
Exit codes:
  0  done
  1  refused or failed; the message says what to do
  2  wrong command line or setting; nothing was tried
  3  no gateway answers there
  4  conflict: somebody else wrote first; read again and retry
  5  the checked version is not fit to serve
  6  files and gateway differ (`apply --dry-run`), or a watched rollout did not succeed
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="model-shepherd")
def cli() -> None:
    """Model Shepherd: serve ML models; move traffic between versions safely."""


for _command in (
    node.up,
    node.down,
    node.reload,
    node.config,
    status.status,
    doctor.doctor,
    model.model,
    traffic.traffic,
    shadow.shadow,
    experiment.experiment,
    rollout.rollout,
    restore.rollback,
    restore.undo,
    apply.apply,
    apply.get,
    infer.infer,
    feedback.feedback,
    monitoring.drift,
    monitoring.performance,
    monitoring.incidents,
    monitoring.hold,
    log.log,
    audit.audit,
    token.token,
    key.key,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line."""
    cli(prog_name="shepherd")


if __name__ == "__main__":
    main()
