"""What the gateway itself counts of shadows and of the request log, read from its own answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_COMPARISONS = "shepherd_shadow_comparisons_total"
_MIRRORED = "shepherd_shadow_requests_total"


class ShadowRow(NamedTuple):
    """One shadow version, over the whole life of the gateway's state."""

    version: str
    agreed: int
    compared: int
    dropped: int
    """Not mirrored, because the shadow's own budget was spent."""


class LogAccounting(NamedTuple):
    """The accounting of the request log: `requests` = the sum of the others."""

    requests: int
    logged: int
    sampled_out: int
    dropped: int

    @property
    def balanced(self) -> bool:
        """Whether the accounting identity holds."""
        return self.requests == self.logged + self.sampled_out + self.dropped


def read_shadows(exposition: str, model: str) -> list[ShadowRow]:
    """Sum up the shadows of a model from a Prometheus scrape."""
    counts: dict[tuple[str, str, str], int] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name in (_COMPARISONS, _MIRRORED) and sample.labels.get("model") == model:
                key = (sample.labels["version"], sample.name, sample.labels["outcome"])
                counts[key] = counts.get(key, 0) + int(sample.value)
    return [_shadow(version, counts) for version in sorted({version for version, _, _ in counts})]


def read_log(document: Mapping[str, Any]) -> LogAccounting:
    """Read the answer of `/admin/v1/log`."""
    dropped = sum(document["dropped"].values())
    return LogAccounting(document["requests"], document["logged"], document["sampled_out"], dropped)


def _shadow(version: str, counts: Mapping[tuple[str, str, str], int]) -> ShadowRow:
    agreed = counts.get((version, _COMPARISONS, "agree"), 0)
    disagreed = counts.get((version, _COMPARISONS, "disagree"), 0)
    return ShadowRow(version, agreed, agreed + disagreed, counts.get((version, _MIRRORED, "dropped"), 0))
