"""Makes a version's reference profile and attaches it: what the model saw and said when it was accepted.

    registry = Registry.open(None, state_dir=Path("~/.shepherd").expanduser())
    attach_profile(registry, "churn", 3, Reference({"features": x}, labels=y, names={"features": columns}))

The rows should be ones that the model was not fitted on, or come with answers of models that were not (`outputs`, by
cross-validation): on its own training rows a model looks better than it is, and honest traffic then looks like a drop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from router.drift.building import FEW_VALUES, Kind, build_profile, columns_of
from router.drift.profile import MAX_COLUMNS, Profile, UnfitProfile, decode_profile, encode_profile
from router.performance.baseline import Metric, Task
from serving.backends.catalog import create
from serving.protocol.arrays import Array
from serving.protocol.errors import invalid
from serving.protocol.messages import TensorSpec
from serving.registry.artifact import PROFILE, Artifact
from serving.registry.options import PROFILE_TAG
from serving.registry.table import read_table, run_rows, table_inputs

if TYPE_CHECKING:
    from serving.registry.registry import Registry

Floats = npt.NDArray[np.float64]
_TRUTHS: Final = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Reference:
    """The rows that a profile is made of."""

    inputs: Mapping[str, Array]
    """By input of the model, [rows, ...]."""
    labels: Floats | None = None
    """[rows], NaN where unknown: 0 or 1, class numbers, or values."""
    outputs: Mapping[str, Array] | None = None
    """By output, [rows, ...]; None: what the version itself answers."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of a tensor's columns."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """By column name, where values mislead: codes are no quantities."""
    task: Task | None = None
    """None: told from the labels."""
    score: str = ""
    """Output column that is the score; empty: told from the outputs."""
    metrics: tuple[Metric, ...] = ()
    """The first is the one that alarms are raised on; empty: those of the task."""
    stretches: int = 0
    """Cut the rows, which then are in order of time, into this many, and forgive what columns wander between them."""


@dataclass(frozen=True, slots=True)
class Table:
    """A reference as a CSV table."""

    text: str
    label: str | None = None
    """Column of the true answers."""
    extra: tuple[str, ...] = ()
    """Columns that are neither feature nor label."""
    categorical: tuple[str, ...] = ()
    """Columns whose numbers are names."""
    task: Task | None = None
    score: str = ""
    stretches: int = 0


def attach_profile(registry: Registry, model: str, version: int, reference: Reference | Table) -> Profile:
    """Make a version's reference profile and attach it to the version, where it stays.

    Raises:
        ServingError: NOT_FOUND; INVALID, the rows do not fit the model, or the version has another profile.
        RegistryUnavailable: the registry is away.
    """
    artifact = registry.fetch(registry.resolve(model, version))
    try:
        if PROFILE_TAG not in artifact.info.tags and (artifact.dir / PROFILE).is_file():
            raise invalid(f"{model} version {version} was logged with a profile of its own; register a new version")
        profile = profile_version(artifact, reference)
    finally:
        registry.release(artifact)
    attached = registry.attach_profile(model, version, encode_profile(profile))
    registry.release(registry.fetch(attached))  # so that this machine's cache has it too
    return profile


def profile_version(artifact: Artifact, reference: Reference | Table) -> Profile:
    """Make the profile of a version on this machine, running it where answers are not given.

    Raises:
        ServingError: INVALID, the rows do not fit the model.
    """
    backend = create(artifact.options.backend, artifact, msgspec.structs.replace(artifact.options, provider="cpu"))
    backend.load()
    try:
        rows = _read(reference, backend.signature.inputs) if isinstance(reference, Table) else reference
        outputs = rows.outputs
        if outputs is None:
            inputs = dict(rows.inputs)
            pieces = run_rows(backend, inputs, len(next(iter(inputs.values()), ())))
            outputs = {name: np.concatenate([piece[name] for piece in pieces]) for name in (pieces or [{}])[0]}
    finally:
        backend.close()
    return _build(rows, outputs, artifact.sha256)


def read_profile(folder: Path) -> Profile | None:
    """Read the profile of a version's folder; None when it has none. `UnfitProfile` when it is no profile."""
    path = folder / PROFILE
    return decode_profile(path.read_bytes()) if path.is_file() else None


def _build(rows: Reference, outputs: Mapping[str, Array], sha256: str) -> Profile:
    columns = [
        *columns_of(rows.inputs, "input", names=rows.names, kinds=rows.kinds),
        *columns_of(outputs, "output", names=rows.names, kinds=rows.kinds),
    ]
    if len(columns) >= MAX_COLUMNS:
        raise invalid(f"the model has {len(columns)} columns; a profile holds {MAX_COLUMNS}")
    task = rows.task or (_task(rows.labels) if rows.labels is not None else None)
    score = rows.score or (_score(task, outputs) if task is not None else "")
    try:
        profile = build_profile(
            columns,
            task=task,
            score=score,
            labels=rows.labels,
            metrics=rows.metrics,
            stretches=rows.stretches,
            model_sha256=sha256,
        )
        return decode_profile(encode_profile(profile))  # what is attached can be read again
    except (UnfitProfile, ValueError) as error:
        raise invalid(f"no profile can be made of these rows: {error}") from error


def _task(labels: Floats) -> Task:
    known = labels[~np.isnan(labels)]
    values = np.unique(known)
    if len(values) and np.all(np.isin(values, (0.0, 1.0))):
        return Task.BINARY
    return Task.MULTICLASS if len(values) <= FEW_VALUES and np.all(values == np.rint(values)) else Task.REGRESSION


def _score(task: Task, outputs: Mapping[str, Array]) -> str:
    """Name the output column to hold against labels: of two probabilities the second, of classes their number."""
    for name, array in outputs.items():
        width = array[:1].size
        whole, real = array.dtype.kind in "iu", array.dtype.kind == "f"
        if task is Task.BINARY and real and width == 2:
            return f"{name}[1]"
        if width == 1 and (whole if task is Task.MULTICLASS else real):
            return name
    shown = ", ".join(outputs) or "none"
    raise invalid(f"which output is the score of a {task} model cannot be told; name its column (outputs: {shown})")


def _read(table: Table, specs: Sequence[TensorSpec]) -> Reference:
    columns = read_table(table.text, (*([table.label] if table.label else ()), *table.extra, *table.categorical))
    features = {name: texts for name, texts in columns.items() if name != table.label and name not in table.extra}
    inputs = table_inputs(specs, features)
    return Reference(
        inputs.arrays,
        labels=_labels(columns[table.label]) if table.label else None,
        names=inputs.names,
        kinds=dict.fromkeys(table.categorical, "categorical"),
        task=table.task,
        score=table.score,
        stretches=table.stretches,
    )


def _labels(texts: Sequence[str]) -> Floats:
    try:
        return np.array([_TRUTHS.get(text.lower(), text) if text else np.nan for text in texts], dtype=np.float64)
    except ValueError as error:
        raise invalid(
            f"labels must be numbers, true or false: {error}; number the classes as the model does"
        ) from error
