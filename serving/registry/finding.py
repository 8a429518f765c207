"""What the checks of a version give: a verdict each, what was seen, how to mend it; all together, a report. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Verdict = Literal["ok", "warning", "failed", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check."""

    check: str
    verdict: Verdict
    seen: str
    mend: str = ""
    """What to do; empty when all is well."""


class Report(msgspec.Struct, frozen=True):
    """All findings about one version, in the order of the checks."""

    subject: str
    """The version, as it was asked for."""
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Nothing has failed; warnings do not keep a version from serving."""
        return not any(finding.verdict == "failed" for finding in self.findings)


def ok(check: str, seen: str) -> Finding:
    """Report that all is as it must be."""
    return Finding(check, "ok", seen)


def warning(check: str, seen: str, mend: str) -> Finding:
    """Report what can be served but lacks something."""
    return Finding(check, "warning", seen, mend)


def failed(check: str, seen: str, mend: str) -> Finding:
    """Report what must not be served."""
    return Finding(check, "failed", seen, mend)


def skipped(check: str, seen: str) -> Finding:
    """Report that a check does not apply, or was not asked for."""
    return Finding(check, "skipped", seen)


def refusal(findings: Iterable[Finding]) -> str | None:
    """Put into one line why a version is refused; None when it is not."""
    reasons = [f"{finding.check} check failed: {finding.seen}" for finding in findings if finding.verdict == "failed"]
    return "; ".join(reasons) or None
