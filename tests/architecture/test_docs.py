"""The documentation names files, sections and modules that exist: what was renamed in the code is renamed there too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from router.cli.main import cli
from serving.telemetry.catalog import CATALOG

ROOT = Path(__file__).parents[2]
_TEMPLATE = ROOT / "docs/adr/0000-template.md"
_OTHERS = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "deploy/README.md")
PAGES = sorted({*(ROOT / "docs").rglob("*.md"), *_OTHERS} - {_TEMPLATE})
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:^|`|\$\()(shepherd [a-z][^`\n]*)", re.MULTILINE)
_METRIC = re.compile(r"`(shepherd_\w+)")
_MODULE = re.compile(r"`([\w./-]+\.py)`")
_FOLDERS = ("serving", "router", "demo", "loadtests", "tests", "deploy")
MODULES = {path.relative_to(ROOT).as_posix() for folder in _FOLDERS for path in (ROOT / folder).rglob("*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository and, where the link names a section, to a heading of that page."""
    broken = [link for link in _LINK.findall(page.read_text()) if "://" not in link and not _leads(page, link)]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_module_named_exists(page: Path) -> None:
    """By its path, or by the end of it where the text says which package is meant."""
    named = set(_MODULE.findall(page.read_text()))

    assert [name for name in sorted(named) if not any(f"/{path}".endswith(f"/{name}") for path in MODULES)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_named_exists(page: Path) -> None:
    """With every option that the text gives it."""
    assert [text for text in _COMMAND.findall(page.read_text()) if _unknown_part(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_metric_named_exists(page: Path) -> None:
    """In the catalog; a name may stand for its histogram's parts."""
    known = {metric.name for metric in CATALOG}

    assert [name for name in _METRIC.findall(page.read_text()) if name not in known] == []


def _unknown_part(text: str) -> str:
    """Name the first word of a command line that the command line tool does not know; empty when it knows all."""
    command: click.Command = cli
    words = shlex.split(text.partition(" #")[0].partition(" && ")[0].replace("'", '"').replace("\\", ""))
    for word in words[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            if word not in command.commands:
                return word
            command = command.commands[word]
        elif word.startswith("-"):
            options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
            if word.partition("=")[0] not in options | {"-h", "--help", "--version"}:
                return word
    return ""


def _leads(page: Path, link: str) -> bool:
    name, _, section = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.exists() and (not section or section in _sections(target))


def _sections(page: Path) -> set[str]:
    """List the anchors that headings get on GitHub: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
