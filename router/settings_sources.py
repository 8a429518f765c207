"""Where settings come from: flags, `SHEPHERD_*` variables, a YAML file and defaults, in that order. Pure.

Nothing here reads the environment or the disk: callers pass what they read, so that two calls with the same arguments
give the same settings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from router.masking import SECRET_KEYS, masked
from router.settings import DEFAULT_STATE_DIR, Settings, SettingsError
from router.settings_fields import KEYS, PATH_KEYS, TYPES, choices, describe, flag_of

VARIABLE_PREFIX: Final = "SHEPHERD_"
#: Variables of the command line alone: they choose a gateway or a file and are no settings.
COMMAND_VARIABLES: Final = frozenset(
    {"SHEPHERD_CONFIG", "SHEPHERD_URL", "SHEPHERD_TOKEN", "SHEPHERD_INFER_URL", "SHEPHERD_KEY"}
)

_SIZE_UNITS: Final = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"(\d+)\s*([A-Za-z]*)", re.ASCII)
_KEY_OF_VARIABLE: Final = {VARIABLE_PREFIX + key.upper(): key for key in KEYS} | {"SHEPHERD_STATE": "state_dir"}


def variable_of(key: str) -> str:
    """Name the environment variable of a key; `state_dir` has a short name."""
    return "SHEPHERD_STATE" if key == "state_dir" else VARIABLE_PREFIX + key.upper()


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
        cwd: what relative paths are relative to.
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
    for key in PATH_KEYS & values.keys():
        values[key] = _absolute(key, values[key], variables.get("HOME", ""), cwd)
    origins = {key: given[key][1] if key in given else "default" for key in KEYS}
    return ResolvedSettings(Settings(**values), origins)


def effective(resolved: ResolvedSettings) -> list[EffectiveSetting]:
    """List every setting with value and origin, in the order of their definition; secrets are masked."""
    return [
        EffectiveSetting(key, _shown(key, getattr(resolved.settings, key)), resolved.origins[key], describe(key))
        for key in KEYS
    ]


def _known(name: str, candidate: str, valid: tuple[str, ...], source: str) -> str:
    if candidate in valid:
        return candidate
    nearest = difflib.get_close_matches(candidate, valid, n=1, cutoff=0.0)
    raise SettingsError(f"{name}: no such setting ({source}); did you mean {nearest[0]}?")


def _convert(key: str, value: Any, origin: str) -> Any:
    """Bring a value, text or not, to the type of its key and check the range."""
    if key in PATH_KEYS:
        value, expected = str(value), str
    else:
        expected = TYPES[key]
    if isinstance(value, str):
        value = _from_text(key, value, origin)
    try:
        return msgspec.convert(value, expected, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        problem = str(error).replace("Expected", "expected", 1).replace("`", "")
        if words := choices(key):
            problem = f"expected one of {', '.join(words)}"
        shown = "" if key in SECRET_KEYS else f" {masked(key, value)!r}"
        raise SettingsError(f"{key}: {problem}; the value{shown} came from {origin}") from None


def _from_text(key: str, text: str, origin: str) -> Any:
    """Read what text may say in a form of its own: sizes with a unit, lists with commas."""
    if key.endswith(("_hosts", "_folders", "_webhooks")):
        return [part.strip() for part in text.split(",") if part.strip()]
    if key.endswith("_bytes"):
        match = _SIZE.fullmatch(text.strip())
        unit = _SIZE_UNITS.get(match[2].upper()) if match else None
        if match is None or unit is None:
            raise SettingsError(f"{key}: expected bytes, as 65536 or 64KiB, 8MiB, 1GiB; {text!r} came from {origin}")
        return int(match[1]) * unit
    return text


def _absolute(key: str, text: str, home: str, cwd: Path) -> Path:
    if text == "~" or text.startswith("~/"):
        if not home:
            raise SettingsError(
                f"{key}: {text} needs HOME, which is not set; give an absolute path with {flag_of(key)}"
            )
        return Path(home, text[2:])
    return cwd / text


def _shown(key: str, value: Any) -> Any:
    """Mask what is secret; show paths as text."""
    return str(value) if isinstance(value, Path) else masked(key, value)
