"""What a check of `shepherd doctor` gives: a verdict, what was seen, and how to mend it. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["ok", "warning", "broken"]


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check."""

    check: str
    verdict: Verdict
    seen: str
    mend: str = ""
    """What to do; empty when all is well."""


def ok(check: str, seen: str) -> Finding:
    """Report that a part is as it must be."""
    return Finding(check, "ok", seen)


def warning(check: str, seen: str, mend: str) -> Finding:
    """Report what works but will hurt later."""
    return Finding(check, "warning", seen, mend)


def broken(check: str, seen: str, mend: str) -> Finding:
    """Report what keeps the gateway from working."""
    return Finding(check, "broken", seen, mend)
