"""Versions are registered in, and found through, a real MLflow registry on sqlite."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.backends.catalog import create
from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.golden import arrays, replay_golden
from serving.registry.mlflow import RegistryUnavailable
from serving.registry.registry import Registry
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

EXAMPLE = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [[0, 1, 2, 3], [4, 5, 6, 7]]}]}
).encode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    opened = Registry.open(None, state_dir=tmp_path_factory.mktemp("state"))
    yield opened
    opened.close()


def refusal(registry: Registry, name: str, **arguments: object) -> str:
    with pytest.raises(ServingError) as caught:
        registry.register(name, **{"onnx": models.add_one(), **arguments})  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value.message


def test_versions_of_a_model_count_from_1(registry: Registry) -> None:
    """Registration prints the number that traffic is then sent to."""
    assert registry.register("counting", models.add_one(), EXAMPLE) == 1
    assert registry.register("counting", models.add(2), EXAMPLE) == 2
    assert [info.version for info in registry.list_versions("counting")] == [1, 2]


def test_the_golden_answer_is_what_the_model_says_to_the_given_example(registry: Registry) -> None:
    """Recorded by running the model once, on the inputs as given."""
    version = registry.register("given", models.add_one(), EXAMPLE)

    artifact = registry.fetch(registry.resolve("given", version))

    assert artifact.golden.origin == "given"
    assert arrays(artifact.golden.inputs)["x"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert arrays(artifact.golden.outputs)["y"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    "build",
    [models.mlp, models.two_inputs, models.scalar_input, models.strings, models.map_sequence, models.fixed_batch],
)
def test_a_model_of_any_kind_can_be_registered_without_an_example(registry: Registry, build: object) -> None:
    """Inputs are invented from its signature and the example is marked as synthetic; it replays."""
    name = f"synthetic-{build.__name__}"  # type: ignore[attr-defined]
    version = registry.register(name, build())  # type: ignore[operator]

    artifact = registry.fetch(registry.resolve(name, version))
    backend = create(artifact.options.backend, artifact, artifact.options, Reach())
    backend.load()

    assert artifact.golden.origin == "synthetic"
    assert replay_golden(backend, artifact.golden, rtol=1e-5, atol=1e-6) is None


def test_external_data_is_taken_along_from_beside_the_file(registry: Registry, tmp_path: Path) -> None:
    """A model given by path is registered whole, and runs from where it is fetched to."""
    version = registry.register("external", models.with_external_data(tmp_path))

    artifact = registry.fetch(registry.resolve("external", version))
    backend = create("onnx", artifact, artifact.options, Reach())
    backend.load()

    assert replay_golden(backend, artifact.golden, rtol=1e-5, atol=1e-6) is None


def test_a_version_of_a_backend_without_files_has_none(registry: Registry) -> None:
    """An echo is registered by its tags alone."""
    tags = {"shepherd.backend": "echo", "shepherd.echo.delay_ms": "1"}

    artifact = registry.fetch(registry.resolve("echo", registry.register("echo", None, tags=tags)))

    assert artifact.onnx is None
    assert artifact.options.settings == {"delay_ms": "1"}


def test_the_size_of_a_version_is_known_before_it_is_fetched_and_after(registry: Registry) -> None:
    """Its model files alone: what a replica loads."""
    version = registry.register("sized", models.mlp())
    assert registry.model_bytes("sized", version) == len(models.mlp())
    artifact = registry.fetch(registry.resolve("sized", version))
    assert artifact.lineage["bytes"] == registry.model_bytes("sized", version) == len(models.mlp())
    with pytest.raises(ServingError, match="no version 9"):
        registry.model_bytes("sized", 9)


def test_lineage_says_where_a_version_comes_from(registry: Registry) -> None:
    """At least its run, opsets and digest."""
    artifact = registry.fetch(registry.resolve("lineage", registry.register("lineage", models.mlp())))

    assert artifact.lineage["run_id"] == artifact.info.run_id
    assert artifact.lineage["opset"] == {"ai.onnx": 17}
    assert artifact.lineage["sha256"] == artifact.sha256 == artifact.info.tags["shepherd.sha256"]


def test_other_mlflow_users_can_load_what_we_register(registry: Registry, tmp_path: Path) -> None:
    """The files are an MLflow model with the onnx flavor."""
    import mlflow.onnx

    artifact = registry.fetch(registry.resolve("flavor", registry.register("flavor", models.mlp())))

    assert mlflow.onnx.load_model(str(artifact.dir)).graph.name == "test"


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alias_is_resolved_to_the_version_that_it_points_to_now(registry: Registry) -> None:
    """What is pinned is a number; a moved alias does not move what was resolved."""
    registry.register("aliased", models.add_one(), alias="champion")
    pinned = registry.resolve("aliased", "@champion")
    registry.register("aliased", models.add(2), alias="champion")

    assert pinned.version == 1
    assert registry.resolve("aliased", "champion").version == 2
    assert registry.resolve("aliased", "2").aliases == ("champion",)


def test_models_are_listed_with_latest_version_and_aliases(registry: Registry) -> None:
    """What `model list` shows."""
    registry.register("listed", models.add_one(), alias="champion")
    registry.register("listed", models.add(2))

    (listed,) = [model for model in registry.list_models() if model.name == "listed"]

    assert listed.latest_version == 2
    assert listed.aliases == {"champion": 1}


def test_an_unknown_model_is_not_found_with_the_nearest_name(registry: Registry) -> None:
    """A typo is the likeliest reason."""
    registry.register("flight-delay", models.add_one())

    with pytest.raises(ServingError, match="did you mean 'flight-delay'") as caught:
        registry.resolve("flight-dealy", 1)

    assert caught.value.kind is ErrorKind.NOT_FOUND


def test_an_unknown_version_or_alias_is_not_found_with_those_there_are(registry: Registry) -> None:
    """The message answers the next question."""
    registry.register("few", models.add_one(), alias="champion")

    with pytest.raises(ServingError, match="has no version 9; it has 1"):
        registry.resolve("few", 9)
    with pytest.raises(ServingError, match="has no alias 'winner'; it has champion"):
        registry.resolve("few", "@winner")


# ── refusing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["../up", "a/b", "", "-flag", "a b", "x" * 129, "é"])
def test_names_that_could_lead_astray_are_refused(registry: Registry, name: str) -> None:
    """Names end up in URLs, files and keys."""
    assert "model name" in refusal(registry, name)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"onnx": models.not_a_model()}, "no ONNX model"),
        ({"onnx": b""}, "empty"),
        ({"onnx": models.wrong_at_runtime()}, "fails on its synthetic example"),
        ({"onnx": models.wrong_at_runtime(), "example": EXAMPLE}, "fails on its given example"),
        ({"onnx": models.mlp(), "example": EXAMPLE}, "input 'x' is unknown"),
        ({"example": b"{"}, "example: request"),
        ({"tags": {"shepherd.thread": "2"}}, "did you mean 'shepherd.threads'"),
        ({"tags": {"shepherd.sha256": "0"}}, "written by the registry itself"),
        ({"alias": "a/b"}, "alias"),
    ],
)
def test_a_registration_with_a_fault_is_refused_and_leaves_nothing(
    registry: Registry, arguments: dict[str, object], reason: str
) -> None:
    """A version that could never be served never exists."""
    assert reason in refusal(registry, "faulty", **arguments)
    assert registry.list_versions("faulty") == ()


def test_a_model_with_its_external_data_left_behind_is_refused(registry: Registry, tmp_path: Path) -> None:
    """Sent as bytes it comes alone."""
    content = models.with_external_data(tmp_path).read_bytes()

    assert "'weights.data', which is not beside it" in refusal(registry, "alone", onnx=content)


def test_a_registry_that_cannot_be_reached_says_which_and_what_to_do(tmp_path: Path) -> None:
    """The address without its credentials, and the settings to look at."""
    registry = Registry.open("http://user:secret@127.0.0.1:9", state_dir=tmp_path)

    with pytest.raises(RegistryUnavailable) as caught:
        registry.list_models()

    assert "http://127.0.0.1:9" in str(caught.value)
    assert "--registry" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_random_models_are_told_what_to_set(registry: Registry) -> None:
    """A model that answers one input in two ways cannot be golden-checked by value."""
    assert "shepherd.golden_rtol=inf" in refusal(registry, "random", onnx=models.random_noise())
    version = registry.register("random", models.random_noise(), tags={"shepherd.golden_rtol": "inf"})
    assert np.isinf(registry.fetch(registry.resolve("random", version)).options.golden_rtol)


def test_processes_that_open_a_new_registry_at_once_do_not_spoil_it(tmp_path: Path) -> None:
    """The command line and the gateway may both be first."""
    program = f"""
from pathlib import Path
from serving.registry.registry import Registry
assert Registry.open(None, state_dir=Path({str(tmp_path)!r})).list_models() == ()
"""
    started = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(process.communicate()[1], process.returncode) for process in started]

    assert [status for _, status in ended] == [0, 0], ended
