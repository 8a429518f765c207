"""The tour of README.md, run as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.cli.main import cli
from tests.gateway import RunningGateway, eventually
from tests.models import add
from tests.steady import body

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
#: What begins and ends the tour: the tests of the life cycle and every run of `make` are about these.
AROUND = ("make setup", "shepherd up", "shepherd down")


def tour() -> list[str]:
    """The commands of the section."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## A tour")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def printed(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_command_of_the_tour_does_what_it_says(
    gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the ports of this gateway instead of the usual ones; the answer names its variant, as the tour says."""
    monkeypatch.chdir(tmp_path)
    for name, offset in (("model", 1.0), ("better", 1.1)):
        Path(f"{name}.onnx").write_bytes(add(offset))
    Path("ex.json").write_text(json.dumps(body(1.0)))
    commands = tour()
    steps = [command for command in commands if not command.startswith(AROUND)]
    assert len(commands) == len(steps) + len(AROUND)
    assert len(steps) >= 8

    for command in steps:
        program, *arguments = shlex.split(
            command.replace("localhost:8000", f"127.0.0.1:{gateway.http_port}"), comments=True
        )
        if program == "curl":
            # A reader types slower than all routers are told of a policy; a test does not.
            asked = [program, "-sS", *arguments]
            eventually(lambda asked=asked: "x-shepherd-variant: stable" in printed(asked))  # type: ignore[misc]
            continue
        assert program == "shepherd"
        environment = {"SHEPHERD_STATE": str(gateway.state_dir), "SHEPHERD_URL": None, "SHEPHERD_TOKEN": None}
        result = CliRunner(env=environment).invoke(cli, arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"
