"""The settings as a Markdown page: `python -m router.settings_page > docs/settings.md`. Pure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec import Meta

from router.masking import SECRET_KEYS
from router.settings import DEFAULT_STATE_DIR, Settings
from router.settings_fields import KEYS, TYPES, choices, describe, flag_of
from router.settings_sources import variable_of

#: Title of each group and the key that it begins with; groups follow the order of the fields.
GROUPS: Final = {
    "state_dir": "State",
    "host": "Ports",
    "tls_certificate": "TLS, API keys and gRPC",
    "routers": "Processes and outside services",
    "request_timeout_s": "Requests",
    "scale_interval_s": "Autoscaling",
    "host_default": "Shared processes",
    "ready_timeout_s": "Policies and rollouts",
    "log_enabled": "Request log",
    "monitor_enabled": "Monitoring",
    "incident_webhooks": "Incidents and retraining",
    "metrics_interval_s": "Metrics and the gateway's own log",
}

#: A settings file that the test of the page resolves.
SAMPLE: Final = """\
host: 0.0.0.0
routers: 4
tls_certificate: /etc/shepherd/tls.crt
tls_key: /etc/shepherd/tls.key
api_keys: required
redis_url: rediss://redis.internal:6379/0
registry_uri: https://mlflow.internal
max_body_bytes: 16MiB
spool_max_bytes: 8GiB
webhook_hosts: [hooks.internal, 10.0.0.0/8]
incident_webhooks: [https://hooks.internal/shepherd]
"""

_HEAD = """\
<!-- Generated: python -m router.settings_page > docs/settings.md -->
# Settings

Every setting can be given as a flag of `shepherd up`, as an environment variable, or in a YAML file. A flag takes
precedence over a variable, a variable over the file, and the file over the default. An empty variable counts as not
set. Unknown settings and invalid values are errors that name the setting.

`shepherd config` prints every effective value and where it came from. It takes the same flags as `shepherd up`.

- **File**: `--config FILE` or `SHEPHERD_CONFIG` names it; keys are the names below. No file is read by default.
- **Sizes** (`_bytes`) are bytes, or a number with `KiB`, `MiB` or `GiB`.
- **Durations** (`_s`) are seconds, with fractions.
- **Lists** are YAML lists in the file, and separated by commas in flags and variables.
- **Booleans** are `true` or `false`; as flags `--name` and `--no-name`.
- **Paths** may start with `~/`; relative ones are relative to the working directory.

A sample file:

```yaml
{sample}```
"""

_TABLE = """
## {title}

| setting | flag and variable | value | default | meaning |
|---|---|---|---|---|
"""

_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_DEFAULTS: Final = {field.name: field.default for field in msgspec.structs.fields(Settings)}


def render_page() -> str:
    """Return the page."""
    parts = [_HEAD.format(sample=SAMPLE)]
    for key in KEYS:
        if key in GROUPS:
            parts.append(_TABLE.format(title=GROUPS[key]))
        names = f"`{variable_of(key)}`" if key in SECRET_KEYS else f"`{flag_of(key)}` `{variable_of(key)}`"
        parts.append(f"| `{key}` | {names} | {_value(key)} | {_default(key)} | {describe(key)} |\n")
    return "".join(parts)


def _value(key: str) -> str:
    """Say what a setting may be: its words, or its type and range."""
    if words := choices(key):
        return ", ".join(f"`{word}`" for word in words)
    kind, bounds = _unpacked(TYPES[key])
    word = _word(key, kind)
    high = next((each.le for each in bounds if each.le is not None), None)
    if high is None or word == "size":
        return word
    low = next((f"{each.ge:g} to" for each in bounds if each.ge is not None), "above 0, up to")
    return f"{word}, {low} {_number(key, high)}"


def _unpacked(kind: Any) -> tuple[Any, list[Meta]]:
    """Part a type from what is said of its range, through nested annotations and optional types."""
    if hasattr(kind, "__metadata__"):
        inner, bounds = _unpacked(kind.__origin__)
        return inner, [*bounds, *(each for each in kind.__metadata__ if isinstance(each, Meta))]
    if get_origin(kind) is UnionType:
        return _unpacked(next(each for each in get_args(kind) if each is not type(None)))
    return kind, []


def _word(key: str, kind: Any) -> str:
    if key.endswith("_bytes"):
        return "size"
    if get_origin(kind) is tuple:
        return "list"
    words = {bool: "boolean", int: "integer", float: "seconds", Path: "path"}
    return words.get(kind, "URL" if key.endswith(("_url", "_uri")) else "text")


def _default(key: str) -> str:
    value = DEFAULT_STATE_DIR if key == "state_dir" else _DEFAULTS[key]
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_number(key, value)}`" if isinstance(value, int | float) else f"`{value}`"


def _number(key: str, value: float) -> str:
    """Write a number; sizes in the largest unit that divides them."""
    if key.endswith("_bytes"):
        for size, unit in _UNITS:
            if value and value % size == 0:
                return f"{value // size:.0f}{unit}"
    return f"{value:.10g}"


if __name__ == "__main__":
    sys.stdout.write(render_page())
