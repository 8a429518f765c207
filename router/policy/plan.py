"""The plan of a rollout: through which shares of traffic a version goes, and what must hold at each. Pure.

A plan is checked as a whole when it comes in (`parse_plan`), so a `Plan` in hand is consistent. Blue/green is a plan
like any other: one step of 100 %, and a time to bake in which the old version stays warm.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from router.policy.shares import WHOLE_BP
from router.policy.validation import field_error
from serving.protocol.errors import invalid

Share = Annotated[int, Meta(ge=1, le=WHOLE_BP)]
Seconds = Annotated[float, Meta(ge=0, le=30 * 86_400)]
Rate = Annotated[float, Meta(ge=0, le=1)]
Risk = Annotated[float, Meta(gt=0, lt=1)]


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """One condition of going on; every kind may be tried out first."""

    dry_run: bool = False
    """Judged and shown, but without a say."""

    @property
    def kind(self) -> str:
        """The word that documents use for it."""
        return str(self.__struct_config__.tag)


class ErrorRate(Check, frozen=True, tag="error_rate", kw_only=True):
    """The canary's share of failed requests exceeds the control arm's by at most `margin`."""

    margin: Rate = 0.02
    alpha: Risk = 0.05
    """Probability, over the whole rollout, of rolling back a version that is within the margin."""


class Latency(Check, frozen=True, tag="latency", kw_only=True):
    """A quantile of the canary's durations is at most `max_ratio` times the control arm's."""

    quantile: Risk = 0.9
    max_ratio: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    alpha: Risk = 0.05


class ShadowAgreement(Check, frozen=True, tag="shadow_agreement", kw_only=True):
    """The version's answers as a shadow agreed with the primary's in at least `min_rate` of the comparisons."""

    min_rate: Rate = 0.9
    alpha: Risk = 0.05


class Prediction(Check, frozen=True, tag="prediction", kw_only=True):
    """The distribution of the canary's predictions is like the control arm's; counted by the monitor."""

    max_distance: Rate = 0.1
    """Accepted shift, see `analysis.distribution`: near the population stability index while it is small."""
    alpha: Risk = 0.05


class LabelMetric(Check, frozen=True, tag="label_metric", kw_only=True):
    """A metric on labels is worse than the control arm's by at most `max_drop` of it; counted by the monitor."""

    metric: Literal["accuracy", "auc", "brier", "log_loss", "mae", "rmse", "mape"] = "accuracy"
    """Those that are means of what labelled answers tell one by one, so that they can be followed."""
    max_drop: Rate = 0.05
    """Relative: 0.05 is 5 % worse than the control arm."""
    alpha: Risk = 0.05


AnyCheck = ErrorRate | Latency | ShadowAgreement | Prediction | LabelMetric
KINDS: Final = ("error_rate", "latency", "shadow_agreement", "prediction", "label_metric")
METRICS: Final[tuple[str, ...]] = get_args(get_type_hints(LabelMetric)["metric"])


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A webhook: a 2xx answer confirms; anything else, or none in time, does not, and is asked again."""

    kind: Literal["confirm_start", "confirm_increase", "confirm_promotion", "event"]
    """`event` is told of each change of phase and has no say."""
    url: Annotated[str, Meta(max_length=2048)]
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0


class ShadowStage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a version is tried on copies of the traffic before it gets a share."""

    sample: Share = WHOLE_BP
    """Share of the requests that are copied, in basis points."""
    min_requests: Annotated[int, Meta(ge=1, le=10**9)] = 100
    """Copies whose answers must have been compared with the primary's."""
    min_time_s: Seconds = 30.0
    timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 500


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a version comes to all of the traffic."""

    steps: Annotated[tuple[Share, ...], Meta(min_length=1, max_length=64)] = (100, 500, 2500, WHOLE_BP)
    """Shares in basis points, rising. A plan that ends below 10 000 holds at its last step until `promote`."""
    min_requests: Annotated[int, Meta(ge=1, le=10**9)] = 100
    """Split requests that the canary must have answered at each step."""
    min_time_s: Seconds = 30.0
    """Least time at each step."""
    checks: Annotated[tuple[AnyCheck, ...], Meta(max_length=32)] = (ErrorRate(), Latency())
    bake_s: Seconds = 30.0
    """After promotion: how long hard failures still roll back to the old version."""
    cool_down_s: Seconds = 300.0
    """After a rollback: how long the model takes no further rollout."""
    start_at: Annotated[float, Meta(ge=0)] = 0.0
    """Unix seconds; not to begin before."""
    gates: Annotated[tuple[Gate, ...], Meta(max_length=16)] = ()
    shadow: ShadowStage | None = None
    """To begin as a shadow; None begins with the first step."""


def parse_plan(document: Any) -> Plan:
    """Check a plan as JSON or YAML gives it; a check may be its kind alone, e.g. `"latency"`.

    Raises:
        ServingError: INVALID whose message starts with the field at fault.
    """
    try:
        plan = msgspec.convert(spelled_out(document), Plan)
    except msgspec.ValidationError as error:
        raise field_error(explain(str(error)), "rollout") from None
    check_plan(plan)
    return plan


def check_plan(plan: Plan, path: str = "") -> None:
    """Check what no field by itself can show; `path` leads to the plan in a larger document.

    Raises:
        ServingError: INVALID whose message starts with the field at fault.
    """
    for index, (before, after) in enumerate(pairwise(plan.steps)):
        if after <= before:
            raise invalid(f"{path}steps[{index + 1}]: {after} does not rise above the step before it, {before}")
    for index, gate in enumerate(plan.gates):
        if urlsplit(gate.url).scheme not in {"http", "https"} or not urlsplit(gate.url).hostname:
            raise invalid(f"{path}gates[{index}].url: must be an http:// or https:// address")


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan in plain JSON types."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plan))
    return document


def spelled_out(document: Any) -> Any:
    """Give a check that is its kind alone the form of the others."""
    if not isinstance(document, dict) or not isinstance(document.get("checks"), list | tuple):
        return document
    checks = [{"kind": each} if isinstance(each, str) else each for each in document["checks"]]
    return {**document, "checks": checks}


def explain(message: str) -> str:
    """Say of a wrong kind or metric what msgspec leaves out: which there are."""
    if message.startswith("Invalid enum value") and message.endswith(".metric`"):
        found = message.partition(" - at ")
        return f"no metric that labels tell one by one; there are {', '.join(METRICS)} - at {found[2]}"
    if message.startswith("Invalid value"):
        where = message.partition(" - at ")[2]
        return f"there is no such check; there are {', '.join(KINDS)}" + (f" - at {where}" if where else "")
    return message
