"""Settings: one frozen object from flags, `SHEPHERD_*` variables, a YAML file and defaults, in that order. Pure.

The fields of `Settings` are the whole list: their names are the keys of the file, and in capitals after `SHEPHERD_` the
variables; their annotations hold range and meaning. Nothing here reads the environment or the disk: callers pass what
they read, so that two calls with the same arguments give the same settings.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
import yaml
from msgspec import Meta

DEFAULT_STATE_DIR: Final = "~/.shepherd"
VARIABLE_PREFIX: Final = "SHEPHERD_"
#: Variables of the command line alone: they choose a gateway or a file and are no settings.
COMMAND_VARIABLES: Final = frozenset({"SHEPHERD_CONFIG", "SHEPHERD_URL", "SHEPHERD_TOKEN"})

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB
_SIZE_UNITS: Final = {"": 1, "B": 1, "KIB": _KIB, "MIB": _MIB, "GIB": _GIB}
_SIZE = re.compile(r"(\d+)\s*([A-Za-z]*)", re.ASCII)

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
LogLevel = Literal["debug", "info", "warning", "error"]
Bytes = Annotated[int, Meta(ge=1, le=1 << 50)]


class SettingsError(ValueError):
    """A setting is unknown, out of range or at odds with another: the message names it and says what is valid."""


def _about(description: str) -> Meta:
    return Meta(description=description)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator may choose about one gateway node."""

    state_dir: Annotated[Path, _about("Directory that holds all state; delete it to start afresh.")]

    host: Annotated[str, _about("Address of the HTTP, gRPC and metrics ports.")] = "127.0.0.1"
    http_port: Annotated[Port, _about("Inference over HTTP.")] = 8000
    grpc_port: Annotated[Port, _about("Inference over gRPC.")] = 8001
    metrics_port: Annotated[Port, _about("Prometheus scrape of all processes of the node.")] = 8002
    admin_host: Annotated[str, _about("Address of the admin API and web page.")] = "127.0.0.1"
    admin_port: Annotated[Port, _about("Admin API and web page.")] = 8080
    allow_remote_admin: Annotated[bool, _about("Let the admin API listen beyond loopback, unencrypted.")] = False
    admin_allowed_hosts: Annotated[
        tuple[str, ...], _about("Names, beside loopback's, that an admin request's Host may carry.")
    ] = ()

    routers: Annotated[int, Meta(ge=1, le=256), _about("Router processes that share the public ports.")] = 1
    redis_url: Annotated[str | None, _about("Redis or Valkey to use; none starts an embedded one.")] = None
    registry_uri: Annotated[str | None, _about("MLflow tracking server; none uses one inside the state directory.")] = (
        None
    )
    ray_address: Annotated[str | None, _about("Ray cluster to join; none starts a local one.")] = None

    request_timeout_s: Annotated[Seconds, _about("Deadline of a request that names none.")] = 30.0
    max_in_flight: Annotated[
        int, Meta(ge=1, le=1_000_000), _about("Requests one router holds at once; beyond it: 429.")
    ] = 2048
    max_body_bytes: Annotated[Bytes, _about("Largest request body; beyond it: 413.")] = 64 * _MIB
    keep_alive_s: Annotated[Seconds, _about("How long an idle HTTP connection stays open.")] = 75.0
    drain_timeout_s: Annotated[Seconds, _about("How long a stopping process waits for what is in flight.")] = 10.0
    policy_poll_s: Annotated[Seconds, _about("How often routers re-read policies, beside being told.")] = 1.0
    ready_timeout_s: Annotated[Seconds, _about("How long a policy change waits for its versions to be ready.")] = 60.0

    log_enabled: Annotated[bool, _about("Record requests and predictions.")] = True
    log_sample_bp: Annotated[
        int, Meta(ge=0, le=10_000), _about("Share of requests recorded, in basis points (10000 = all).")
    ] = 10_000
    log_payload_max_bytes: Annotated[Bytes, _about("Largest tensor payload a record keeps; larger are cut.")] = (
        64 * _KIB
    )
    log_retention_bytes: Annotated[Bytes, _about("Recorded bytes kept in Redis before the oldest go.")] = 256 * _MIB
    spool_max_bytes: Annotated[Bytes, _about("Disk for records that are not shipped yet; beyond it they drop.")] = _GIB
    spool_segment_bytes: Annotated[Bytes, _about("Size at which a spool file is closed and the next begun.")] = (
        16 * _MIB
    )

    metrics_interval_s: Annotated[Seconds, _about("How often a process publishes its metrics.")] = 0.5
    log_level: Annotated[LogLevel, _about("Least severe line of the gateway's own log.")] = "info"

    def __post_init__(self) -> None:
        """Check what no single field can; also when settings are built by hand."""
        _check_state_dir(self.state_dir)
        _check_ports(self)
        if not self.allow_remote_admin and not is_loopback(self.admin_host):
            raise SettingsError(
                f"admin_host: {self.admin_host} is reachable from other machines and the admin API is not encrypted; "
                "use 127.0.0.1, or set allow_remote_admin if something in front of it adds TLS"
            )
        _check_url("redis_url", self.redis_url, ("redis", "rediss", "unix"))
        _check_url("registry_uri", self.registry_uri, ("http", "https", "sqlite"))
        if self.spool_segment_bytes > self.spool_max_bytes:
            raise SettingsError(
                f"spool_segment_bytes: {self.spool_segment_bytes} is more than spool_max_bytes, {self.spool_max_bytes}"
            )


class ResolvedSettings(msgspec.Struct, frozen=True):
    """Settings and, by key, where each value came from: a flag, a variable, the file's name or `default`."""

    settings: Settings
    origins: Mapping[str, str]


class EffectiveSetting(msgspec.Struct, frozen=True):
    """One line of `shepherd config`."""

    key: str
    value: Any
    origin: str
    description: str


_TYPES: Final[dict[str, Any]] = get_type_hints(Settings, include_extras=True)
KEYS: Final = tuple(Settings.__struct_fields__)
_KEY_OF_VARIABLE: Final = {VARIABLE_PREFIX + key.upper(): key for key in KEYS} | {"SHEPHERD_STATE": "state_dir"}


def parse_file(text: str, name: str) -> dict[str, Any]:
    """Parse the YAML settings file `name`: one mapping of keys to values, or nothing at all.

    Raises:
        SettingsError: the text is not YAML, or not a mapping with names for keys.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise SettingsError(f"{name}: must hold one mapping of setting names to values")
    return document


def resolve(
    flags: Mapping[str, Any],
    variables: Mapping[str, str],
    file: Mapping[str, Any],
    *,
    cwd: Path,
    file_name: str = "file",
) -> ResolvedSettings:
    """Merge the sources: flags over variables over the file over defaults.

    Args:
        flags: by key; a value of None counts as not given.
        variables: the whole environment; names without the prefix are ignored, an empty value counts as not given.
        file: the parsed settings file.
        cwd: what a relative state directory is relative to.
        file_name: how to call the file in messages and origins.

    Raises:
        SettingsError: naming the key or variable at fault.
    """
    given: dict[str, tuple[Any, str]] = {"state_dir": (DEFAULT_STATE_DIR, "default")}
    for key, value in file.items():
        given[_known(key, key, KEYS, file_name)] = (value, file_name)
    for name, text in variables.items():
        if not name.startswith(VARIABLE_PREFIX) or name in COMMAND_VARIABLES:
            continue
        key = _KEY_OF_VARIABLE[_known(name, name, tuple(_KEY_OF_VARIABLE), "environment")]
        if text:
            given[key] = (text, name)
    for key, value in flags.items():
        if value is not None:
            given[_known(key, key, KEYS, "flags")] = (value, flag_of(key))

    values = {key: _convert(key, value, origin) for key, (value, origin) in given.items()}
    values["state_dir"] = _absolute(values["state_dir"], variables.get("HOME", ""), cwd)
    origins = {key: given[key][1] if key in given else "default" for key in KEYS}
    return ResolvedSettings(Settings(**values), origins)


def effective(resolved: ResolvedSettings) -> list[EffectiveSetting]:
    """List every setting with value and origin, in the order of their definition; passwords in URLs are masked."""
    return [
        EffectiveSetting(key, _shown(getattr(resolved.settings, key)), resolved.origins[key], describe(key))
        for key in KEYS
    ]


def describe(key: str) -> str:
    """Say what a key means."""
    metas: tuple[Meta, ...] = _TYPES[key].__metadata__
    return next((meta.description for meta in metas if meta.description), "")


def flag_of(key: str) -> str:
    """Name the command-line flag of a key."""
    return {"state_dir": "--state", "registry_uri": "--registry"}.get(key, "--" + key.replace("_", "-"))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address; a name other than `localhost` never counts."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _known(name: str, candidate: str, valid: tuple[str, ...], source: str) -> str:
    if candidate in valid:
        return candidate
    nearest = difflib.get_close_matches(candidate, valid, n=1, cutoff=0.0)
    raise SettingsError(f"{name}: no such setting ({source}); did you mean {nearest[0]}?")


def _convert(key: str, value: Any, origin: str) -> Any:
    """Bring a value, text or not, to the type of its key and check the range."""
    if key == "state_dir":
        value, expected = str(value), str
    else:
        expected = _TYPES[key]
    if isinstance(value, str):
        value = _from_text(key, value, origin)
    try:
        return msgspec.convert(value, expected, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        problem = str(error).replace("Expected", "expected", 1).replace("`", "")
        if key == "log_level":
            problem = f"expected one of {', '.join(get_args(LogLevel))}"
        raise SettingsError(f"{key}: {problem}; the value {value!r} came from {origin}") from None


def _from_text(key: str, text: str, origin: str) -> Any:
    """Read what text may say in a form of its own: sizes with a unit, lists with commas."""
    if key == "admin_allowed_hosts":
        return [part.strip() for part in text.split(",") if part.strip()]
    if key.endswith("_bytes"):
        match = _SIZE.fullmatch(text.strip())
        unit = _SIZE_UNITS.get(match[2].upper()) if match else None
        if match is None or unit is None:
            raise SettingsError(f"{key}: expected bytes, as 65536 or 64KiB, 8MiB, 1GiB; {text!r} came from {origin}")
        return int(match[1]) * unit
    return text


def _absolute(text: str, home: str, cwd: Path) -> Path:
    if text == "~" or text.startswith("~/"):
        if not home:
            raise SettingsError(f"state_dir: {text} needs HOME, which is not set; give an absolute path with --state")
        return Path(home, text[2:])
    return cwd / text


def _check_state_dir(path: Path) -> None:
    if not path.is_absolute():
        raise SettingsError(f"state_dir: {path} is not absolute; processes of the gateway differ in where they start")


def _check_ports(settings: Settings) -> None:
    taken: dict[int, str] = {}
    for key in ("http_port", "grpc_port", "metrics_port", "admin_port"):
        port = getattr(settings, key)
        if port in taken:
            raise SettingsError(f"{key}: {port} is also {taken[port]}; each needs a port of its own")
        taken[port] = key


def _check_url(key: str, url: str | None, schemes: tuple[str, ...]) -> None:
    if url is not None and urlsplit(url).scheme not in schemes:
        raise SettingsError(f"{key}: must begin with {', '.join(scheme + '://' for scheme in schemes)}")


def _shown(value: Any) -> Any:
    """Mask the password of a URL; show paths as text."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and "@" in value and "://" in value:
        parts = urlsplit(value)
        user = parts.username or ""
        return urlunsplit(parts._replace(netloc=f"{user}:***@{parts.netloc.rpartition('@')[2]}"))
    return value
