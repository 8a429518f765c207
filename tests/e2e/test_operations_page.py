"""docs/operations.md, run as it stands: a page whose commands do not work is worse than none."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from router.cli.main import cli
from tests.gateway import RunningGateway, eventually, running_gateway
from tests.models import add
from tests.steady import body, steady

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_BLOCK = re.compile(r"^```sh(?: fails=(\d))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """One command of the page and the exit code that it says."""

    command: str
    code: int


def steps() -> list[Step]:
    """Every command of the page, in order."""
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [Step(line, int(code or 0)) for code, block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway of its own: the page counts versions from 1."""
    (tmp_path / "home").mkdir()
    with running_gateway(tmp_path / "state", home=tmp_path / "home") as running:
        yield running


def test_every_command_of_the_page_does_what_the_page_says(
    gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something sends the model traffic, one request in five with the value that version 3 cannot bear."""
    monkeypatch.chdir(tmp_path)
    for name, offset in (("good", 1.0), ("better", 1.1), ("broken", 1.2)):
        Path(f"{name}.onnx").write_bytes(add(offset))
    Path("example.json").write_text(json.dumps(body(1.0)))
    environment = {"SHEPHERD_STATE": str(gateway.state_dir), "SHEPHERD_URL": None, "SHEPHERD_TOKEN": None}
    todo = steps()
    first = next(position for position, step in enumerate(todo) if "rollout" in step.command)
    ran = [_run(step, environment) for step in todo[:first]]
    with steady(f"{gateway.url}/v2/models/risk/infer", bad=13.0) as load:
        eventually(lambda: len(load.seen) > 50)
        ran += [_run(step, environment) for step in todo[first:]]

    assert len(ran) > 15
    assert all(seen.is_fine for seen in load.seen if seen.variant != "canary")


def _run(step: Step, environment: dict[str, str | None]) -> str:
    """Run one command; what it prints to a file goes there."""
    command, _, target = step.command.partition(" > ")
    name, *arguments = shlex.split(command)
    assert name == "shepherd"
    result = CliRunner(env=environment).invoke(cli, arguments)
    assert result.exit_code == step.code, f"{step.command}\n{result.output}"
    if target:
        Path(target).write_text(result.stdout)
    return result.output
