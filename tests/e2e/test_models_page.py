"""The commands of docs/models.md do what the page says, and its tables name every tag."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from serving.backends.triton import TritonOptions
from serving.registry.options import INCIDENT_TAG, ServingOptions
from tests.gateway import RunningGateway
from tests.models import add_one

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_command_of_the_page_succeeds(gateway: RunningGateway, tmp_path: Path) -> None:
    """In the order of the page, with the files that it names."""
    row = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    (tmp_path / "model.onnx").write_bytes(add_one())
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [row]}))
    lines = ["a,b,c,d,label,group", *("1,1,1,1,0,g" for _ in range(40))]
    (tmp_path / "labelled.csv").write_text("\n".join(lines))

    assert len(commands()) >= 4
    for command in commands():
        program, *arguments = command.split()
        assert program == "shepherd"
        ended = subprocess.run(
            [sys.executable, "-m", "router.cli.main", *arguments],
            cwd=tmp_path,
            env=os.environ  # noqa: TID251 - a user's
            | {"SHEPHERD_STATE": str(gateway.state_dir), "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"


def tags_of_the_page() -> dict[str, str]:
    """Read the tables of tags: each tag with the text of its default."""
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`shepherd\.[^|]+)\|([^|]*)\|", PAGE, re.MULTILINE):
        tags = re.findall(r"`([^`]+)`", names)
        tags = [tag if tag.startswith("shepherd.") else f"{tags[0].rpartition('.')[0]}{tag}" for tag in tags]
        texts = [text.strip(" `") for text in defaults.split(",")]
        found |= dict(zip(tags, texts if len(texts) == len(tags) else texts * len(tags), strict=True))
    return found


def test_every_tag_is_explained_with_its_default_and_no_other() -> None:
    """What the page says is what the code does: by the code's own reading of the text."""
    backends = {f"triton.{field.name}": field for field in msgspec.structs.fields(TritonOptions)}
    fields = {field.name: field for field in msgspec.structs.fields(ServingOptions)} | backends
    del fields["settings"]
    page = tags_of_the_page()
    del page["shepherd.triton.*"]
    del page[INCIDENT_TAG]  # says where a version comes from, not how it is served

    assert page.keys() == {f"shepherd.{name}" for name in fields}
    for name, field in fields.items():
        text = page[f"shepherd.{name}"]
        default = "" if field.default is msgspec.NODEFAULT else field.default
        assert msgspec.convert(text, field.type, strict=False) == default if text else default == "", name


def test_the_tags_of_the_test_backend_are_left_out() -> None:
    """`echo` is for tests: its knobs are explained in its module."""
    assert not [tag for tag in tags_of_the_page() if tag.startswith("shepherd.echo.")]
