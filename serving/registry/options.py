"""How a version wants to be served, read from its `shepherd.*` registry tags. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from serving.protocol.errors import invalid

PREFIX: Final = "shepherd."

SHA256_TAG: Final = "shepherd.sha256"
"""Digest of the model's files, see `serving.registry.digest`; what was registered is what is served."""
GOLDEN_TAG: Final = "shepherd.golden"
"""Where the golden example came from: see `serving.registry.golden.Origin`."""
GOLDEN_SHA256_TAG: Final = "shepherd.golden_sha256"
"""Digest of the golden example and its answer."""

PROFILE_TAG: Final = "shepherd.profile_sha256"
"""Digest of the reference profile, where one was attached."""

INCIDENT_TAG: Final = "shepherd.incident"
"""The incident that the version was trained for; no option of serving, and whoever registers it may write it."""

RECORDED_TAGS: Final = frozenset({SHA256_TAG, GOLDEN_TAG, GOLDEN_SHA256_TAG, PROFILE_TAG})
"""Tags that the registry writes itself and nobody may choose."""


AUTO: Final = "auto"
MAX_REPLICAS: Final = 1024
"""Of one version: a tag must not have a node start processes without end."""


class ServingOptions(msgspec.Struct, frozen=True):
    """One version's options; the tag of a field is `shepherd.` and its name.

    Defaults serve a small model on one CPU core.
    """

    backend: str = "onnx"
    host: Literal["", "own", "shared", "auto"] = ""
    """Whose process runs it: its own, a shared one, or a shared one if it is small; empty: as the gateway says."""
    min_replicas: Annotated[int, Meta(ge=0, le=MAX_REPLICAS)] = 1
    """0 lets the version scale to zero."""
    max_replicas: Annotated[int, Meta(ge=1, le=MAX_REPLICAS)] = 1
    target_in_flight: Annotated[float, Meta(gt=0)] = 16.0
    """Requests that each replica should hold; more ask for another replica, up to max_replicas."""
    max_queued: Annotated[float, Meta(gt=0)] = 8.0
    """Requests that may wait at each replica before there should be more of them."""
    objective_ms: Annotated[float, Meta(ge=0)] = 0.0
    """95th percentile of latency inside a busy replica above which there should be more of them, and twice what a run
    may take before batches shrink; 0 for none."""
    threads: Annotated[int, Meta(ge=0, le=1024)] | Literal["auto"] = AUTO
    """Threads that one operator may use; 0 lets the runtime take every core, `auto` is the replica's share of them."""
    max_batch: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Most rows in one run; 1 turns batching off."""
    provider: str = "auto"
    """Execution provider: auto, cpu, cuda or tensorrt."""
    gpu_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Part of a GPU that each replica takes; 0 for none."""
    gpu_mem_limit_bytes: Annotated[int, Meta(ge=0, le=1 << 50)] = 0
    """Ceiling of the GPU memory of each replica; 0: the measured size plus 10 %."""
    latency_budget_ms: Annotated[float, Meta(ge=0)] = 0.0
    """The version is refused when one run of its golden example takes longer, in the median; 0 for no budget."""
    golden_rtol: Annotated[float, Meta(ge=0)] = 1e-3
    """Relative tolerance of the golden check; `inf` compares only names, datatypes and shapes (for random models)."""
    golden_atol: Annotated[float, Meta(ge=0)] = 1e-5
    settings: Mapping[str, Any] = {}
    """The backend's own settings: `shepherd.echo.delay_ms` is the setting `delay_ms` of the backend `echo`."""


_WITHOUT_SETTINGS: Final = frozenset({"onnx"})
"""Backends that are set by the options alone, whose bounds and contradictions are checked here."""

_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(ServingOptions) if field.name != "settings"}


def parse_options(tags: Mapping[str, str]) -> ServingOptions:
    """Read the options of a version; tags without our prefix are none of our business.

    Raises:
        ServingError: INVALID that names the tag: unknown, of the wrong type, out of range, or contradicting another.
    """
    values: dict[str, Any] = {}
    settings: dict[str, tuple[str, str]] = {}
    for tag, text in tags.items():
        if not tag.startswith(PREFIX) or tag in RECORDED_TAGS or tag == INCIDENT_TAG:
            continue
        name, _, setting = tag.removeprefix(PREFIX).partition(".")
        if setting:
            settings[tag] = (name, text)
        elif name in _FIELDS:
            values[name] = _parse_value(tag, text, _FIELDS[name].type)
        else:
            raise invalid(f"tag '{tag}' is unknown{_suggestion(name)}")
    options = ServingOptions(**values, settings=_own_settings(values.get("backend", "onnx"), settings))
    if options.max_replicas < options.min_replicas:
        raise invalid(
            f"tag 'shepherd.max_replicas': {options.max_replicas} is below shepherd.min_replicas"
            f" ({options.min_replicas})"
        )
    if options.host == "shared":
        _check_can_share(options)
    return options


def _check_can_share(options: ServingOptions) -> None:
    """See that a version asks for nothing that a shared process cannot give."""
    for name, is_asked in (
        ("max_replicas", options.max_replicas > 1),
        ("gpu_share", options.gpu_share > 0),
        ("backend", options.backend == "triton"),
    ):
        if is_asked:
            raise invalid(
                f"tag 'shepherd.host' is 'shared', but tag '{PREFIX}{name}' is '{getattr(options, name)}':"
                " set it to 'own', or leave the other out"
            )


def _parse_value(tag: str, text: str, form: Any) -> Any:
    try:
        value = msgspec.convert(text, form, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).replace(f"Invalid enum value '{text}'", f"Expected `int` or `{AUTO}`")
        raise invalid(f"tag '{tag}' is '{text}': {reason}") from error
    if isinstance(value, float) and math.isnan(value):
        raise invalid(f"tag '{tag}' is '{text}': Expected a number")
    return value


def _own_settings(backend: str, settings: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Keep the settings' values by name; one for another backend than the version's is a mistake."""
    own: dict[str, Any] = {}
    for tag, (owner, text) in settings.items():
        if owner != backend:
            raise invalid(f"tag '{tag}' is for backend '{owner}', but the version's backend is '{backend}'")
        if owner in _WITHOUT_SETTINGS:
            raise invalid(f"tag '{tag}' is unknown: backend '{owner}' has no settings of its own")
        own[tag.removeprefix(f"{PREFIX}{owner}.")] = _setting_value(tag, text)
    return own


def _setting_value(tag: str, text: str) -> Any:
    """Read lists and objects as JSON; the backend reads plain text into the type that it wants."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(f"tag '{tag}' is no valid JSON: {error}") from error


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, _FIELDS, n=1)
    return f"; did you mean 'shepherd.{close[0]}'?" if close else f"; known are {', '.join(sorted(_FIELDS))}"
