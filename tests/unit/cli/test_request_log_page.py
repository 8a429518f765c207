"""docs/request-log.md says what is so: its commands exist with their options, its columns and rules are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from router.cli.main import cli
from router.requestlog.label import MAX_BODY_BYTES, MAX_ID, MAX_LABELS, MAX_ROWS, MAX_TEXT
from router.requestlog.rows import FIXED, MAX_WIDTH
from router.requestlog.rules import parse_rules

PAGE = (Path(__file__).parents[3] / "docs" / "request-log.md").read_text()
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("shepherd ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_is_one(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed as typed, in a folder that has the files it names."""
    monkeypatch.chdir(tmp_path)
    for name in ("labels.csv", "validation.csv", "rules.yaml"):
        Path(name).touch()
    command: click.Command = cli
    arguments = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        name = arguments.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"{name} is no command"
        command = found

    assert command.make_context("shepherd", arguments).params


def test_the_columns_are_those_of_an_export() -> None:
    """All of them, in their order, with their types."""
    told = re.findall(r"^\| `(\w+)` \| (text|integer|real|truth|time) \|", PAGE, re.MULTILINE)

    assert told == list(FIXED.items())


def test_the_rules_are_rules() -> None:
    """As the gateway reads them."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    assert set(parse_rules(yaml.safe_load(block))) == {"churn", "*"}


def test_the_bounds_are_those_that_hold() -> None:
    """Written as people write numbers."""
    for bound in (MAX_LABELS, MAX_ROWS, MAX_TEXT, MAX_ID, MAX_WIDTH):
        assert f"{bound:,}".replace(",", " ") in PAGE
    assert MAX_BODY_BYTES == 1 << 20
