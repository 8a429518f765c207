"""The operator's file of log rules, and the key of the hashes that they ask for.

A router whose rules cannot be read does not start: it would write what it was told to hide.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import yaml

from router.requestlog.redaction import Redactors
from router.requestlog.rules import EVERY_MODEL, LogRule, parse_rules
from serving.protocol.errors import invalid


class ReadRules(NamedTuple):
    """What a recorder needs of the rules."""

    rules: Mapping[str, LogRule]
    redactors: Redactors | None

    @property
    def sample_bp(self) -> dict[str, int]:
        """Shares of single models."""
        return {
            model: rule.sample_bp
            for model, rule in self.rules.items()
            if model != EVERY_MODEL and rule.sample_bp is not None
        }

    def other_sample_bp(self, default: int) -> int:
        """Return the share of all other models."""
        rule = self.rules.get(EVERY_MODEL)
        return default if rule is None or rule.sample_bp is None else rule.sample_bp


def read_log_rules(file: Path | None, key_file: Path) -> ReadRules:
    """Read the rules and the key, which is made where there is none; without a file there are no rules.

    Raises:
        ServingError: INVALID, what is wrong with the file.
        OSError: it, or the key, cannot be read.
    """
    if file is None:
        return ReadRules({}, None)
    rules = parse_log_rules(file)
    return ReadRules(rules, Redactors(rules, _ensure_key(key_file)) if rules else None)


def parse_log_rules(file: Path) -> Mapping[str, LogRule]:
    """Read the rules alone; see `read_log_rules`."""
    try:
        return parse_rules(yaml.safe_load(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise invalid(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None


def _ensure_key(path: Path) -> bytes:
    """Read the key; the first of several processes that find none makes it, whole or not at all."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        try:
            with suppress(FileExistsError):
                path.hardlink_to(fresh)
        finally:
            fresh.unlink()
    return path.read_bytes()
