"""`shepherd model profile` and its call for training scripts: a version gets one reference, and is served with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner, Result

from router.cli.main import cli
from router.control.profiling import Reference, attach_profile, read_profile
from router.drift.profile import CategoricalColumn, NumericColumn, Profile
from router.performance.baseline import Metric, Task
from serving.protocol.errors import ServingError
from serving.registry.artifact import PROFILE
from serving.registry.options import PROFILE_TAG
from serving.registry.registry import Registry
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ROWS = 400


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def registry(state: Path) -> Iterator[Registry]:
    opened = Registry.open(None, state_dir=state)
    yield opened
    opened.close()


@pytest.fixture
def name(registry: Registry) -> str:
    """A model of its own for each test, with one version: y = x + 1, four columns wide."""
    fresh = f"m-{uuid4().hex[:8]}"
    registry.register(fresh, models.add_one())
    return fresh


@pytest.fixture
def rows() -> Any:
    """[rows, 4]: three measures and a code of three values."""
    chance = np.random.default_rng(5)
    return np.column_stack([chance.normal(size=(ROWS, 3)), chance.integers(0, 3, ROWS)]).astype(np.float32)


def profile(state: Path, name: str, *options: str) -> Result:
    return CliRunner().invoke(cli, ["model", "profile", name, "--version", "1", "--state", str(state), *options])


def write(path: Path, rows: Any, labels: Any) -> Path:
    lines = [",".join([*map(str, row), str(label)]) for row, label in zip(rows.tolist(), labels, strict=True)]
    path.write_text("\n".join(["a,b,c,code,truth", *lines]) + "\n")
    return path


def attached(registry: Registry, name: str, version: int = 1) -> Profile:
    artifact = registry.fetch(registry.resolve(name, version))
    try:
        found = read_profile(artifact.dir)
    finally:
        registry.release(artifact)
    assert found is not None
    return found


def test_a_table_becomes_the_profile_of_the_version(
    tmp_path: Path, state: Path, registry: Registry, name: str, rows: Any
) -> None:
    """Columns by their names in the file, answers by running the model, a baseline from the labels."""
    data = write(tmp_path / "rows.csv", rows, rows[:, 0] + 1.5)
    options = ("--data", str(data), "--label", "truth", "--categorical", "code", "--score", "y[0]")

    result = profile(state, name, *options, "-o", "json")

    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    made = attached(registry, name)
    assert (made.rows, made.task, told["sha256"]) == (
        ROWS,
        Task.REGRESSION,
        registry.resolve(name, 1).tags[PROFILE_TAG],
    )
    assert isinstance(made.column("a"), NumericColumn)
    assert isinstance(made.column("code"), CategoricalColumn)
    assert [column.name for column in made.columns if column.role == "output"] == [f"y[{i}]" for i in range(4)]
    assert made.baselines[0].metric is Metric.MAE
    assert made.baselines[0].value == pytest.approx(0.5, abs=1e-5)
    assert made.model_sha256 == registry.resolve(name, 1).tags["shepherd.sha256"]


def test_the_check_of_a_version_no_longer_warns(state: Path, registry: Registry, name: str, rows: Any) -> None:
    """And fails when the file is not the one that was attached."""
    subject = ["model", "check", f"models:/{name}/1", "--state", str(state), "-o", "json"]

    def verdict() -> str:
        report = json.loads(CliRunner().invoke(cli, subject).stdout)
        return next(str(finding["verdict"]) for finding in report["findings"] if finding["check"] == "profile")

    assert verdict() == "warning"
    attach_profile(registry, name, 1, Reference({"x": rows}))
    assert verdict() == "ok"


def test_a_version_keeps_its_first_profile(registry: Registry, name: str, rows: Any) -> None:
    """The same one again is no change; another one needs another version."""
    first = attach_profile(registry, name, 1, Reference({"x": rows}))

    assert attach_profile(registry, name, 1, Reference({"x": rows})) == first
    with pytest.raises(ServingError, match="another reference profile"):
        attach_profile(registry, name, 1, Reference({"x": rows + 1}))
    assert attached(registry, name) == first


def test_a_profile_that_was_exchanged_is_not_fetched(
    tmp_path: Path, state: Path, registry: Registry, name: str, rows: Any
) -> None:
    """Its digest is registered, like the model's: another machine refuses it."""
    attach_profile(registry, name, 1, Reference({"x": rows}))
    run = registry.resolve(name, 1).run_id
    for path in (state / "registry").rglob(f"{run}/**/{Path(PROFILE).name}"):
        path.write_text("{}")

    elsewhere = Registry.open(registry.uri, state_dir=tmp_path, allowed_folders=[state / "registry"])
    with pytest.raises(ServingError, match="reference profile"):
        elsewhere.fetch(elsewhere.resolve(name, 1))
    elsewhere.close()


def test_answers_of_cross_validation_replace_those_of_the_version(registry: Registry, name: str, rows: Any) -> None:
    """So that the baseline is honest on training rows; of two probabilities the second is the score."""
    registry.register(name, models.add(2.0))
    chance = np.random.default_rng(6)
    positive = chance.uniform(size=ROWS)
    outputs = {"p": np.column_stack([1 - positive, positive]).astype(np.float32)}
    labels = (chance.uniform(size=ROWS) < positive).astype(np.float64)

    attach_profile(registry, name, 2, Reference({"x": rows}, labels, outputs, metrics=(Metric.AUC,)))

    made = attached(registry, name, 2)
    assert (made.task, made.score, made.baselines[0].metric) == (Task.BINARY, "p[1]", Metric.AUC)
    assert made.calibration is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("a,b,c,code", "a,b,c,code,more").replace("\n", ",0\n"), "takes 4 features"),
        (lambda text: text.replace(",truth", ",other"), "no column 'truth'"),
        (lambda text: "\n".join([text.splitlines()[0], "x,0,0,0,0"]), "text where"),
        (lambda text: "\n".join([text.splitlines()[0], "0,0,0,0,high"]), "labels must be numbers"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
    ],
    ids=["columns", "no-label", "text", "text-label", "empty"],
)
def test_a_table_that_does_not_fit_is_refused(  # noqa: PLR0917 - fixtures
    tmp_path: Path, state: Path, registry: Registry, name: str, rows: Any, change: Any, told: str
) -> None:
    """In words, and nothing is attached."""
    data = write(tmp_path / "rows.csv", rows, rows[:, 0])
    data.write_text(change(data.read_text()))

    result = profile(state, name, "--data", str(data), "--label", "truth", "--score", "y[0]")

    assert result.exit_code == 1
    assert told in result.output
    assert PROFILE_TAG not in registry.resolve(name, 1).tags
