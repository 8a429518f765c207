"""`shepherd model check` passes what the gateway would serve, and fails what it would refuse, for programs to read."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.cli.main import cli
from serving.registry.registry import Registry
from tests import models
from tests.ports import free_ports

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

CRASHING = {"shepherd.backend": "echo", "shepherd.echo.crash_on": "1"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.add_one())
    return path


def check(subject: object, *options: str) -> Result:
    return CliRunner().invoke(cli, ["model", "check", str(subject), "-o", "json", *options])


def verdicts(result: Result) -> dict[str, str]:
    report: dict[str, Any] = json.loads(result.stdout)
    return {finding["check"]: finding["verdict"] for finding in report["findings"]}


def test_a_good_file_passes_with_warnings(model: Path) -> None:
    """An invented example and a missing profile are no reason to refuse."""
    result = check(model)

    assert result.exit_code == 0, result.output
    assert verdicts(result)["golden"] == "warning"
    assert verdicts(result)["profile"] == "warning"
    assert "failed" not in verdicts(result).values()


@pytest.mark.parametrize(
    ("content", "failing"),
    [
        (models.not_a_model(), "graph"),
        (models.custom_operator(), "graph"),
        (models.wrong_at_runtime(), "load"),
    ],
    ids=["no-model", "custom-operator", "always-fails"],
)
def test_a_bad_file_fails_with_its_own_exit_status(model: Path, content: bytes, failing: str) -> None:
    """5, so that a pipeline tells a bad model from a broken command."""
    model.write_bytes(content)

    result = check(model)

    assert result.exit_code == 5
    assert verdicts(result)[failing] == "failed"


def test_a_model_that_ends_its_process_is_a_finding(tmp_path: Path) -> None:
    """It is tried in a process of its own."""
    result = check(tmp_path, *(part for name, value in CRASHING.items() for part in ("--tag", f"{name}={value}")))

    assert result.exit_code == 5
    assert "ended with status 70" in result.stdout


def test_external_data_outside_the_folder_fails(tmp_path: Path) -> None:
    """Whatever onnxruntime thinks of it."""
    folder = tmp_path / "model"
    folder.mkdir()
    models.with_external_data(folder, location="../secret.data")

    assert verdicts(check(folder))["graph"] == "failed"


def test_a_link_in_the_folder_fails(tmp_path: Path, model: Path) -> None:
    """It could lead anywhere."""
    (tmp_path / "weights.data").symlink_to("/etc/passwd")

    assert verdicts(check(tmp_path)) == {"files": "failed"}


def test_a_pickle_beside_the_model_is_never_fetched(tmp_path: Path, model: Path) -> None:
    """A warning, since it does no harm where it lies."""
    (tmp_path / "model.pkl").write_bytes(b"pickle")

    result = check(tmp_path)

    assert result.exit_code == 0
    assert verdicts(result)["files"] == "warning"


def test_a_version_of_the_registry_is_checked_by_number_and_alias(tmp_path: Path, model: Path) -> None:
    """As CI knows it; a damaged file fails by its digest."""
    registry = Registry.open(None, state_dir=tmp_path / "state")
    version = registry.register("m", model, alias="champion")
    state = ("--state", str(tmp_path / "state"))

    assert verdicts(check(f"models:/m/{version}", *state))["digest"] == "ok"
    assert check("models:/m@champion", *state).exit_code == 0
    assert "has no alias" in check("models:/m@nobody", *state).stdout

    registry.close()
    for file in (tmp_path / "state").rglob("model.onnx"):
        file.chmod(0o600)
        file.write_bytes(models.add(2.0))
    assert "registered was" in check("models:/m@champion", *state).stdout


def test_a_model_on_a_host_that_the_operator_allows_is_asked_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a replica would; nobody listens there, and that is what the report says."""
    (port,) = free_ports(1)
    tags = {"backend": "triton", "triton.urls": f"grpc://0.0.0.0:{port}", "triton.model": "m", "triton.timeout_s": "5"}
    options = [part for name, value in tags.items() for part in ("--tag", f"shepherd.{name}={value}")]

    assert "host '0.0.0.0' may not be spoken to" in check(tmp_path, *options).stdout

    monkeypatch.setenv("SHEPHERD_BACKEND_ALLOWED_HOSTS", "0.0.0.0")
    assert "Triton cannot be reached" in check(tmp_path, *options).stdout


def test_the_report_is_also_written_for_ci_servers(tmp_path: Path, model: Path) -> None:
    """One test case for each check."""
    model.write_bytes(models.custom_operator())

    check(model, "--junit", str(tmp_path / "report.xml"))

    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert suite.get("failures") == "1"
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "custom operators" in failure.get("message", "")
