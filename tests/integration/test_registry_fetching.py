"""Versions are brought to this machine verified, and served from the cache while the registry is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow import MlflowClient

from serving.backends.catalog import create
from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import Artifact
from serving.registry.golden import arrays, replay_golden
from serving.registry.mlflow import RegistryUnavailable
from serving.registry.registry import Registry
from tests import models

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

AWAY = "http://127.0.0.1:9"
"""An address where nobody listens."""


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def registry(state_dir: Path) -> Iterator[Registry]:
    opened = Registry.open(None, state_dir=state_dir)
    yield opened
    opened.close()


@pytest.fixture
def log_model(registry: Registry, state_dir: Path) -> Callable[..., str]:
    """Log a model as a training script does: through `mlflow.onnx.log_model`, knowing nothing of us."""
    import mlflow

    def log(name: str, content: bytes, **arguments: object) -> str:
        mlflow.set_tracking_uri(registry.uri)
        with mlflow.start_run(experiment_id=registry.experiment("training")):
            mlflow.log_params({"hidden": 32})
            mlflow.onnx.log_model(
                onnx.load_from_string(content),
                name="model",
                registered_model_name=name,
                pip_requirements=["onnxruntime"],
                **arguments,
            )
        return name

    return log


def fetched(registry: Registry, model: str, version: int = 1) -> Artifact:
    return registry.fetch(registry.resolve(model, version))


def stored_file(registry: Registry, model: str, name: str) -> Path:
    """Find a file of version 1 where the embedded registry keeps it."""
    uri = MlflowClient(registry.uri, registry.uri).get_model_version_download_uri(model, "1")
    return Path(uri.removeprefix("file://")) / name


def refusal(registry: Registry, model: str) -> str:
    with pytest.raises(ServingError) as caught:
        fetched(registry, model)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value.message


# ── models logged by others ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_version_logged_by_mlflow_is_served_with_its_input_example_as_golden(
    registry: Registry, log_model: Callable[..., str]
) -> None:
    """The answer is recorded at the first fetch and written back, marked as such; the digest too."""
    log_model("logged", models.mlp(), input_example=np.full((2, 16), 0.5, np.float32))

    artifact = fetched(registry, "logged")
    backend = create("onnx", artifact, artifact.options, Reach())
    backend.load()

    assert artifact.golden.origin == "self-recorded"
    assert arrays(artifact.golden.inputs)["features"].tolist() == [[0.5] * 16] * 2
    assert replay_golden(backend, artifact.golden, rtol=1e-5, atol=1e-6) is None
    assert registry.resolve("logged", 1).tags["shepherd.golden"] == "self-recorded"
    assert registry.resolve("logged", 1).tags["shepherd.sha256"] == artifact.sha256


def test_a_version_logged_by_mlflow_without_example_gets_an_invented_one(
    registry: Registry, log_model: Callable[..., str]
) -> None:
    """Nothing is asked of a training script that we could do ourselves."""
    log_model("plain", models.two_inputs())

    assert set(arrays(fetched(registry, "plain").golden.inputs)) == {"a", "b"}


def test_a_training_script_can_attach_a_golden_example(registry: Registry, log_model: Callable[..., str]) -> None:
    """One call after `log_model`; from then on the version is as good as one that we registered."""
    log_model("attached", models.add_one())
    example = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [5, 6, 7, 8]}]}

    info = registry.record_golden("attached", 1, json.dumps(example).encode())

    assert {"shepherd.sha256", "shepherd.golden_sha256"} <= info.tags.keys()
    artifact = registry.fetch(info)
    assert artifact.golden.origin == "given"
    assert arrays(artifact.golden.outputs)["y"].tolist() == [[6, 7, 8, 9]]


def test_a_golden_example_attached_later_replaces_the_cached_one(
    registry: Registry, log_model: Callable[..., str]
) -> None:
    """The cache compares what it has with what the registry lists."""
    log_model("replaced", models.add_one())
    before = fetched(registry, "replaced")
    example = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [5, 6, 7, 8]}]}

    registry.record_golden("replaced", 1, json.dumps(example).encode())
    after = fetched(registry, "replaced")

    assert (before.golden.origin, after.golden.origin) == ("self-recorded", "given")
    assert before.sha256 == after.sha256


def test_lineage_of_a_trained_model_has_its_parameters(registry: Registry, log_model: Callable[..., str]) -> None:
    """Read from its run."""
    log_model("trained", models.mlp())

    assert fetched(registry, "trained").lineage["params"] == {"hidden": "32"}


# ── refusing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_changed_after_registration_is_refused_and_others_are_not_touched(registry: Registry) -> None:
    """What was registered is what is served."""
    registry.register("tampered", models.add_one())
    registry.register("honest", models.add_one())
    stored_file(registry, "tampered", "model.onnx").write_bytes(models.add(2))

    assert "sha256 of its model" in refusal(registry, "tampered")
    assert fetched(registry, "honest").sha256


def test_a_golden_example_changed_after_registration_is_refused(registry: Registry) -> None:
    """A forged answer would let a wrong model pass."""
    registry.register("forged", models.add_one())
    path = stored_file(registry, "forged", "shepherd/golden_response.json")
    path.write_text(path.read_text().replace("2.0", "3.0"))

    assert "sha256 of its golden example" in refusal(registry, "forged")


def test_files_outside_the_registry_are_never_read(registry: Registry, tmp_path: Path) -> None:
    """A version's source is text that anyone with write access chooses."""
    (tmp_path / "model.onnx").write_bytes(models.add_one())
    client = MlflowClient(registry.uri, registry.uri)
    for name, source in (("outside", tmp_path.as_uri()), ("etc", "file:///etc")):
        client.create_registered_model(name)
        client.create_model_version(name, source)

        assert "allowed folders" in refusal(registry, name)


def test_symbolic_links_are_refused(registry: Registry, tmp_path: Path) -> None:
    """A link inside the registry could lead out of it."""
    registry.register("linked", models.add_one())
    stored_file(registry, "linked", "secrets.json").symlink_to("/etc/passwd")

    assert "symbolic link" in refusal(registry, "linked")


def test_code_and_pickles_are_never_downloaded(registry: Registry) -> None:
    """Only models and their metadata are fetched; what else lies there stays there."""
    registry.register("baggage", models.add_one())
    for name in ("model.pkl", "evil.py", "notes.txt"):
        stored_file(registry, "baggage", name).write_text("import os")

    names = {path.name for path in fetched(registry, "baggage").dir.rglob("*") if path.is_file()}

    assert names == {"MLmodel", "model.onnx", "golden_request.json", "golden_response.json"}


def test_files_that_are_gone_are_not_found(registry: Registry) -> None:
    """The registry lists the version, its store has lost it."""
    registry.register("lost", models.add_one())
    folder = stored_file(registry, "lost", ".")
    folder.rename(folder.with_name("elsewhere"))

    with pytest.raises(ServingError, match="are gone") as caught:
        fetched(registry, "lost")

    assert caught.value.kind is ErrorKind.NOT_FOUND


# ── the registry away ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fetched_version_is_found_and_served_while_the_registry_is_away(registry: Registry, state_dir: Path) -> None:
    """Across a restart too: the cache is all that a new process needs."""
    registry.register("cached", models.add_one(), tags={"shepherd.threads": "2"})
    online = fetched(registry, "cached")

    offline = Registry.open(AWAY, state_dir=state_dir)
    artifact = fetched(offline, "cached")

    assert artifact == online
    offline.close()


def test_what_was_never_fetched_is_unavailable_while_the_registry_is_away(registry: Registry, state_dir: Path) -> None:
    """Not `not found`: it may well exist."""
    registry.register("uncached", models.add_one())
    offline = Registry.open(AWAY, state_dir=state_dir)

    with pytest.raises(RegistryUnavailable):
        offline.resolve("uncached", 1)
    with pytest.raises(RegistryUnavailable):
        offline.fetch(registry.resolve("uncached", 1))


def test_a_damaged_cache_is_fetched_anew(registry: Registry) -> None:
    """Files are verified at each use; bit rot does not reach a model."""
    registry.register("rotten", models.add_one())
    artifact = fetched(registry, "rotten")
    assert artifact.onnx
    artifact.onnx.chmod(0o600)
    artifact.onnx.write_bytes(models.add(2))

    again = fetched(registry, "rotten")

    assert again.onnx
    assert again.onnx.read_bytes() == models.add_one()


def test_a_model_deleted_and_registered_anew_is_not_taken_from_the_cache(registry: Registry) -> None:
    """Its versions count from 1 again, and are other versions."""
    registry.register("reborn", models.add_one())
    before = fetched(registry, "reborn")
    MlflowClient(registry.uri, registry.uri).delete_registered_model("reborn")
    registry.register("reborn", models.add(2))

    assert fetched(registry, "reborn").sha256 != before.sha256
