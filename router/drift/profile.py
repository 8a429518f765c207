"""The reference profile: what a model saw and said when it was accepted, as counts beside its version. Pure.

A profile is a value of bounded size with a schema number, kept as JSON beside the model and named by its SHA-256. It
holds no row of the data: bins and their counts, the names of categories, moments, directions, a calibration curve.

Bins of a numeric column:     null | below the range | b_1 ... b_B | above the range.
Bins of a categorical column: null | never seen in the reference | other | one for each listed category.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from router.performance.baseline import Baseline, Task

SCHEMA: Final = 1
MAX_PROFILE_BYTES: Final = 8 << 20
MAX_COLUMNS: Final = 1024
MAX_BINS: Final = 64
MAX_CATEGORIES: Final = 256
MAX_PROBABILITIES: Final = 64
MAX_RARE: Final = 4096
HOURS: Final = 24

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Counts = Annotated[tuple[Count, ...], msgspec.Meta(min_length=3, max_length=MAX_CATEGORIES + 3)]
Text = Annotated[str, msgspec.Meta(max_length=256)]
Role = Literal["input", "output", "derived"]


class UnfitProfile(ValueError):
    """The document is no profile, or contradicts itself; the message names what."""


class _Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Text
    tensor: Text
    """Empty for a derived column."""
    index: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    """Place in a row of the tensor, all axes after the first flattened."""
    role: Role
    counts: Counts
    """Rows of the reference per bin."""
    hourly: Annotated[tuple[Counts, ...], msgspec.Meta(max_length=HOURS)] = ()
    """The same by hour of day (UTC), 24 of them, where the profile is seasonal."""
    wander: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    """Largest population stability index, noise subtracted, of a stretch of the reference against all of it: how far
    the column goes by itself, where neighbouring rows resemble each other. 0 where rows are taken for independent."""

    def _check(self, bins: int) -> None:
        if len(self.counts) != bins or any(len(counts) != bins for counts in self.hourly):
            raise ValueError(f"column {self.name!r}: counts has {len(self.counts)} entries, but there are {bins} bins")
        if len(self.hourly) not in {0, HOURS}:
            raise ValueError(f"column {self.name!r}: hourly has {len(self.hourly)} entries; it needs none or {HOURS}")


class NumericColumn(_Column, frozen=True, tag="numeric", kw_only=True):
    """Real numbers, in bins of about equal reference counts."""

    edges: Annotated[tuple[float, ...], msgspec.Meta(min_length=2, max_length=MAX_BINS + 1)]
    """Ascending, the range of the reference at both ends; a value on an edge belongs to the bin above it."""
    mean: float
    deviation: Annotated[float, msgspec.Meta(ge=0)]

    def __post_init__(self) -> None:
        if any(not low < high for low, high in pairwise(self.edges)):
            raise ValueError(f"column {self.name!r}: edges must be strictly ascending")
        self._check(len(self.edges) + 2)


class CategoricalColumn(_Column, frozen=True, tag="categorical", kw_only=True):
    """Names, or numbers that are names."""

    categories: Annotated[tuple[Text | float, ...], msgspec.Meta(max_length=MAX_CATEGORIES)]
    """The most frequent, each with a bin of its own."""
    rare: Annotated[tuple[Text | float, ...], msgspec.Meta(max_length=MAX_RARE)] = ()
    """The rest, which share the bin `other`."""
    open: bool = False
    """There were more than fit into `rare`: what is unknown counts as `other`, new categories cannot be told."""

    def __post_init__(self) -> None:
        known = {*self.categories, *self.rare}
        if len(known) != len(self.categories) + len(self.rare):
            raise ValueError(f"column {self.name!r}: a category is listed twice")
        if any(isinstance(category, str) is not self.of_text for category in known):
            raise ValueError(f"column {self.name!r}: categories must be all text or all numbers")
        self._check(len(self.categories) + 3)

    @property
    def of_text(self) -> bool:
        """Whether the categories are names rather than numbers."""
        return any(isinstance(category, str) for category in (*self.categories, *self.rare)[:1])


Column = NumericColumn | CategoricalColumn


class Relations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Directions in which the reference hardly varies, see `multivariate`."""

    features: Annotated[tuple[Text, ...], msgspec.Meta(min_length=3, max_length=128)]
    """Names of numeric input columns, standardised by their own mean and deviation."""
    directions: Annotated[tuple[tuple[float, ...], ...], msgspec.Meta(min_length=3, max_length=128)]
    """One row a feature."""

    def __post_init__(self) -> None:
        if len(self.directions) != len(self.features) or len({len(row) for row in self.directions}) != 1:
            raise ValueError("relations: directions needs one row per feature, all of the same length")


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the positive class was right, by score: knots of a non-decreasing curve, straight between them."""

    scores: Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=256)]
    probabilities: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...], msgspec.Meta(min_length=1, max_length=256)
    ]

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.probabilities):
            raise ValueError("calibration: scores and probabilities must have the same length")
        if any(not low < high for low, high in pairwise(self.scores)):
            raise ValueError("calibration: scores must be strictly ascending")
        if any(low > high for low, high in pairwise(self.probabilities)):
            raise ValueError("calibration: probabilities must not decrease")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that live rows, predictions and labels are held against."""

    schema: Literal[1] = SCHEMA
    rows: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    columns: Annotated[tuple[Column, ...], msgspec.Meta(min_length=1, max_length=MAX_COLUMNS)]
    task: Task | None = None
    score: Text = ""
    """Name of the output column that is the score (probability of the positive class, or the predicted value)."""
    classes: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_CATEGORIES)] = ()
    """Names of the classes, in the order of their numbers, where labels or answers name them; else empty."""
    probabilities: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_PROBABILITIES)] = ()
    """Names of the output columns that are the probabilities of several classes, in the order of their numbers."""
    relations: Relations | None = None
    calibration: Calibration | None = None
    baselines: Annotated[tuple[Baseline, ...], msgspec.Meta(max_length=16)] = ()
    """The first is the one that alarms are raised on."""
    model_sha256: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    self_referenced: bool = False
    """Built from the first requests for want of training data: it cannot know drift that was there from the start."""

    def __post_init__(self) -> None:
        names = {column.name: column for column in self.columns}
        if len(names) != len(self.columns):
            raise ValueError("columns: two of them have the same name")
        if self.score and (self.score not in names or names[self.score].role != "output"):
            raise ValueError(f"score: {self.score!r} is not an output column")
        strange = [name for name in self.probabilities if name not in names or names[name].role != "output"]
        if strange:
            raise ValueError(f"probabilities: {strange[0]!r} is not an output column")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: one of them is listed twice")
        related = self.relations.features if self.relations else ()
        strange = [feature for feature in related if not isinstance(names.get(feature), NumericColumn)]
        if strange:
            raise ValueError(f"relations: {strange[0]!r} is not a numeric column")

    def column(self, name: str) -> Column:
        """Return the column of this name; `KeyError` if there is none."""
        return next((column for column in self.columns if column.name == name), None) or _missing(name)


def encode_profile(profile: Profile) -> bytes:
    """Write a profile as canonical JSON: equal profiles give equal bytes. `UnfitProfile` if it is too large."""
    document: bytes = msgspec.json.encode(profile, order="sorted")
    if len(document) > MAX_PROFILE_BYTES:
        raise UnfitProfile(f"a profile of {len(document)} bytes is over the limit of {MAX_PROFILE_BYTES}")
    return document


def decode_profile(document: bytes | memoryview) -> Profile:
    """Read a profile, believing nothing. `UnfitProfile` names what is wrong with it."""
    if len(document) > MAX_PROFILE_BYTES:
        raise UnfitProfile(f"a profile of {len(document)} bytes is over the limit of {MAX_PROFILE_BYTES}")
    try:
        return _decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitProfile(f"reference profile: {error}") from error


def profile_sha256(document: bytes) -> str:
    """Name a profile by its bytes."""
    return sha256(document).hexdigest()


_decode = msgspec.json.Decoder(Profile).decode


def _missing(name: str) -> Column:
    raise KeyError(name)
