"""What `--help` says is shown as it was meant, and can be done as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from router.cli.main import cli
from serving.registry.options import parse_options


def commands(command: click.Command, path: tuple[str, ...] = ("shepherd",)) -> Iterator[tuple[str, str]]:
    """Name each command with its help."""
    context = click.Context(command, info_name=" ".join(path))
    yield " ".join(path), command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


HELP = dict(commands(cli))


@pytest.mark.parametrize("name", HELP)
def test_help_has_no_control_characters(name: str) -> None:
    """Neither as such nor spelt out."""
    assert not re.search(r"\\[a-z]|[\x00-\x09\x0b-\x1f]", HELP[name])


@pytest.mark.parametrize("name", HELP)
def test_no_summary_of_a_command_is_cut(name: str) -> None:
    """Half a sentence in a list of commands says nothing."""
    assert [line for line in HELP[name].splitlines() if line.startswith("  ") and line.endswith("...")] == []


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [
        ("shepherd traffic set", "shepherd traffic set ", '"first 5 %"'),
        ("shepherd rollout start", "shepherd rollout ", '"weekly model"'),
    ],
)
def test_an_example_is_on_one_line(name: str, begin: str, end: str) -> None:
    """It can be copied."""
    (example,) = [line.strip() for line in HELP[name].splitlines() if line.strip().startswith(begin)]
    assert example.endswith(end)


def test_the_tag_that_help_shows_is_one() -> None:
    """An operator who copies it registers a version that can be served."""
    tags = re.findall(r"shepherd\.[a-z_.]+=\w+", " ".join(HELP["shepherd model register"].split()))
    assert tags
    for tag in tags:
        parse_options(dict([tag.split("=")]))
