"""Options that commands share: which gateway, which output, which settings; and failures turned into exit codes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from router.access.key import KEY_HEADER
from router.cli.client import GatewayRefusal, GatewayUnreachable
from router.cli.failures import CommandFailed, NoGateway, StaleWrite, WrongSetting
from router.cli.location import connect, read_settings
from router.masking import SECRET_KEYS
from router.settings import DEFAULT_STATE_DIR, Settings, SettingsError
from router.settings_fields import KEYS, choices, describe, flag_of

Command = Callable[..., None]

_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Settings)}
_FLAG_KEYS = tuple(key for key in KEYS if key not in SECRET_KEYS)
#: By the last word of a key, which is its unit; what has none is a number.
_METAVARS = {
    "address": "ADDRESS",
    "bytes": "BYTES",
    "ca": "FILE",
    "certificate": "FILE",
    "dir": "DIR",
    "file": "FILE",
    "folder": "DIR",
    "folders": "DIR,DIR",
    "host": "HOST",
    "hosts": "HOST,HOST",
    "key": "FILE",
    "keys": "ignored|required",
    "port": "PORT",
    "s": "SECONDS",
    "uri": "URI",
    "url": "URL",
    "webhooks": "URL,URL",
}

output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
state_option = click.option(
    "--state", metavar="DIR", help="State directory of the gateway.  [default: ~/.shepherd, or SHEPHERD_STATE]"
)
key_option = click.option(
    "--key", envvar="SHEPHERD_KEY", help="API key, if the gateway requires one; prefer SHEPHERD_KEY."
)
reason_option = click.option("--reason", required=True, help="Reason, recorded in the audit log.")


def with_client(command: Command) -> Command:
    """Give a command a client of the gateway that `--state`, or `--url` and `--token`, point to."""

    @state_option
    @click.option("--url", envvar="SHEPHERD_URL", help="Address of the admin API, instead of a state directory.")
    @click.option("--token", envvar="SHEPHERD_TOKEN", help="Bearer token, instead of the state directory's.")
    @functools.wraps(command)
    def connected(*args: Any, state: str | None, url: str | None, token: str | None, **kwargs: Any) -> None:
        with reported_failures(), connect(state_dir(state), preferred(state, url), token) as client:
            command(client, *args, **kwargs)

    return connected


def with_settings(command: Command) -> Command:
    """Give a command the resolved settings, with one flag for each of them and `--config FILE`."""

    @functools.wraps(command)
    def settled(*args: Any, config: str | None, **kwargs: Any) -> None:
        flags = {key: kwargs.pop(key) for key in _FLAG_KEYS}
        with reported_failures():
            resolved = read_settings(flags, config)
        command(resolved, *args, **kwargs)

    decorated: Command = settled
    for key in reversed(_FLAG_KEYS):
        decorated = _setting_option(key)(decorated)
    return click.option("--config", metavar="FILE", help="YAML file of settings.  [or SHEPHERD_CONFIG]")(decorated)


def key_header(key: str | None) -> dict[str, str]:
    """Make the header that presents an API key."""
    return {KEY_HEADER: key} if key else {}


def state_dir(state: str | None) -> Path:
    """Resolve the state directory as `up` would."""
    return read_settings({"state_dir": state}).settings.state_dir


def preferred(state: str | None, url: str | None) -> str | None:
    """Choose between directory and address: a directory given by hand beats an address from the environment."""
    source = click.get_current_context().get_parameter_source("url")
    return None if state and source is ParameterSource.ENVIRONMENT else url


def read_tags(texts: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE` options."""
    tags = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--tag {text}: expected NAME=VALUE")
        tags[name] = value
    return tags


@contextlib.contextmanager
def reported_failures() -> Iterator[None]:
    """Turn what may go wrong into one line on stderr and an exit code."""
    try:
        yield
    except GatewayUnreachable as error:
        raise NoGateway(str(error)) from None
    except GatewayRefusal as refusal:
        raise (StaleWrite if refusal.status == 412 else CommandFailed)(str(refusal)) from None
    except SettingsError as error:
        raise WrongSetting(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None


def _setting_option(key: str) -> Callable[[Command], Command]:
    """Make the flag of one setting; its text is read by `router.settings`, as a variable's is."""
    flag = flag_of(key)
    default = DEFAULT_STATE_DIR if key == "state_dir" else _DEFAULTS[key]
    meaning = f"{describe(key)}  [default: {default}]" if default not in (None, ()) else describe(key)
    if isinstance(default, bool):
        return click.option(f"{flag}/--no-{flag[2:]}", key, default=None, help=meaning)
    return click.option(flag, key, metavar=_metavar(key), help=meaning)


def _metavar(key: str) -> str:
    return "|".join(choices(key)) or _METAVARS.get(key.rpartition("_")[2], "N")
