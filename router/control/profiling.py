"""Makes a version's reference profile and attaches it: what the model saw and said when it was accepted.

    registry = Registry.open(None, state_dir=Path("~/.shepherd").expanduser())
    attach_profile(registry, "churn", 3, Reference({"features": x}, labels=y, names={"features": columns}))

The rows should be ones that the model was not fitted on, or come with answers of models that were not (`outputs`, by
cross-validation): on its own training rows a model looks better than it is, and honest traffic then looks like a drop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from router.drift.building import FEW_VALUES, Kind, build_profile, columns_of
from router.drift.profile import (
    MAX_CATEGORIES,
    MAX_COLUMNS,
    MAX_PROBABILITIES,
    MAX_PROFILE_BYTES,
    Profile,
    UnfitProfile,
    decode_profile,
    encode_profile,
)
from router.performance.baseline import Metric, Task
from serving.backends.catalog import create
from serving.backends.outgoing import Reach
from serving.protocol.arrays import Array
from serving.protocol.errors import invalid
from serving.protocol.messages import Signature
from serving.registry.artifact import PROFILE, Artifact
from serving.registry.options import PROFILE_TAG
from serving.registry.table import read_table, run_rows, table_inputs

if TYPE_CHECKING:
    from serving.registry.registry import Registry

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
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
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers, where answers, or labels to come, name them."""
    hours: Ints | None = None
    """[rows], hour of day, UTC: windows are then held against the same hours of the reference."""


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
    time: str | None = None
    """Column of the time of each row: Unix seconds, or ISO 8601 (UTC where it names no zone)."""
    classes: tuple[str, ...] = ()
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
        profile = profile_version(artifact, reference, registry.reach)
    finally:
        registry.release(artifact)
    attached = registry.attach_profile(model, version, encode_profile(profile))
    registry.release(registry.fetch(attached))  # so that this machine's cache has it too
    return profile


def profile_version(artifact: Artifact, reference: Reference | Table, reach: Reach) -> Profile:
    """Make the profile of a version on this machine, running it where answers are not given.

    Args:
        artifact: the version.
        reference: the rows.
        reach: how far its backend may reach.

    Raises:
        ServingError: INVALID, the rows do not fit the model.
    """
    options = msgspec.structs.replace(artifact.options, provider="cpu")
    backend = create(options.backend, artifact, options, reach)
    backend.load()
    try:
        rows = _read(reference, backend.signature) if isinstance(reference, Table) else reference
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
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return decode_profile(file.read(MAX_PROFILE_BYTES + 1))


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
            classes=rows.classes,
            probabilities=_probabilities(task, outputs),
            labels=rows.labels,
            hours=rows.hours,
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
        named = array.dtype == object or array.dtype.kind in "US"
        if width == 1 and (whole or named if task is Task.MULTICLASS else real):
            return name
    shown = ", ".join(outputs) or "none"
    raise invalid(f"which output is the score of a {task} model cannot be told; name its column (outputs: {shown})")


def _probabilities(task: Task | None, outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Name the columns of the one output that has a probability for each of several classes."""
    if task is not Task.MULTICLASS:
        return ()
    for name, array in outputs.items():
        width = array[:1].size
        if array.dtype.kind == "f" and 2 <= width <= MAX_PROBABILITIES:
            return tuple(f"{name}[{i}]" for i in range(width))
    return ()


def _read(table: Table, signature: Signature) -> Reference:
    named = [name for name in (table.label, table.time) if name]
    columns = read_table(table.text, (*named, *table.extra, *table.categorical))
    features = {name: texts for name, texts in columns.items() if name not in {*named, *table.extra}}
    inputs = table_inputs(signature.inputs, features)
    labels, classes = None, table.classes
    if table.label:
        names_classes = any(spec.datatype == "BYTES" for spec in signature.outputs)
        labels, classes = read_labels(columns[table.label], classes, may_guess=names_classes)
    return Reference(
        inputs.arrays,
        labels=labels,
        classes=classes,
        hours=read_hours(columns[table.time]) if table.time else None,
        names=inputs.names,
        kinds=dict.fromkeys(table.categorical, "categorical"),
        task=table.task,
        score=table.score,
        stretches=table.stretches,
    )


def read_labels(texts: Sequence[str], classes: tuple[str, ...], *, may_guess: bool) -> tuple[Floats, tuple[str, ...]]:
    """Read labels as numbers, names of classes by their place; return them with the classes.

    Args:
        texts: numbers, true or false, or names; empty where unknown.
        classes: names in the order of the model's numbers.
        may_guess: without classes, take the names that occur in alphabetical order, as scikit-learn does: right where
            the model answers with names.
    """
    try:
        return np.array([_TRUTHS.get(text.lower(), text) if text else np.nan for text in texts], np.float64), classes
    except ValueError as error:
        if not classes and not may_guess:
            raise invalid(f"labels must be numbers, true or false, or names in the list of classes: {error}") from error
        names = classes or tuple(sorted({text for text in texts if text}))
    numbers = {name: float(i) for i, name in enumerate(names)}
    strange = next((text for text in texts if text and text not in numbers), None)
    if strange is not None:
        raise invalid(f"label {strange!r} is none of the classes ({', '.join(names)[:200]})")
    if len(names) > MAX_CATEGORIES:
        raise invalid(f"{len(names)} different labels; a profile holds the names of {MAX_CATEGORIES} classes")
    return np.array([numbers[text] if text else np.nan for text in texts]), names


def read_hours(texts: Sequence[str]) -> Ints:
    """Read the hour of day, UTC, of times: Unix seconds, or ISO 8601."""
    hours = []
    for text in texts:
        try:
            seconds = float(text)
        except ValueError:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise invalid(f"time {text[:40]!r} is neither Unix seconds nor ISO 8601") from None
            seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
        if not isfinite(seconds):
            raise invalid(f"time {text[:40]!r} is no moment")
        hours.append(int(seconds // 3600) % 24)
    return np.array(hours, np.int64)
