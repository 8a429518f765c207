"""A report on a version in the XML that CI servers show as tests. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from serving.registry.finding import Finding, Report


def junit(report: Report) -> str:
    """Write one test case for each check; a warning passes, with its text as output."""
    counts = Counter(finding.verdict for finding in report.findings)
    totals = f'tests="{len(report.findings)}" failures="{counts["failed"]}" skipped="{counts["skipped"]}" errors="0"'
    cases = "".join(_case(report.subject, finding) for finding in report.findings)
    name = _attribute(report.subject)
    return f'<?xml version="1.0" encoding="utf-8"?>\n<testsuite name={name} {totals}>\n{cases}</testsuite>\n'


def _case(subject: str, finding: Finding) -> str:
    head = f"  <testcase classname={_attribute(subject)} name={_attribute(finding.check)}>"
    message = _attribute(f"{finding.seen}; {finding.mend}" if finding.mend else finding.seen)
    if finding.verdict == "ok":
        return f"{head}</testcase>\n"
    element = {"failed": "failure", "skipped": "skipped"}.get(finding.verdict)
    if element is None:
        return f"{head}<properties><property name={_attribute('warning')} value={message}/></properties></testcase>\n"
    return f"{head}<{element} message={message}/></testcase>\n"


def _attribute(text: str) -> str:
    """Quote a value; characters that XML cannot hold become U+FFFD."""
    return quoteattr("".join(char if char >= " " or char in "\t\n" else "\ufffd" for char in text))
