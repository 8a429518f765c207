"""How a command ends: exit codes that scripts may rely on, and failures as one line on stderr.

0 is done. 2 is also click's own code for a wrong command line.
"""

from __future__ import annotations

import click


class CommandFailed(click.ClickException):
    """The gateway refused, or something is broken: the message says what to do."""

    exit_code = 1


class WrongSetting(CommandFailed):
    """A setting is wrong; nothing was tried."""

    exit_code = 2


class NoGateway(CommandFailed):
    """No gateway answers there."""

    exit_code = 3


class StaleWrite(CommandFailed):
    """Somebody else wrote first: read again, decide anew, retry."""

    exit_code = 4


class Differs(CommandFailed):
    """Nothing is broken, but CI wants to know: files and gateway differ, or a watched rollout did not succeed."""

    exit_code = 6
