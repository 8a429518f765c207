"""The catalog keeps Prometheus' naming rules and the gateway's small set of labels, and its page is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.telemetry.catalog import CATALOG
from serving.telemetry.catalog_page import render_page
from serving.telemetry.metric import CounterMetric, HistogramMetric, Metric

LABELS = {"model", "version", "variant", "protocol", "output", "direction", "reason", "outcome"}
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_names_are_unique() -> None:
    """One name, one meaning."""
    names = [metric.name for metric in CATALOG]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
def test_a_metric_keeps_the_conventions(metric: Metric) -> None:
    """Our prefix; counters and only they end in _total; durations in seconds; bounded labels; a help text."""
    assert metric.name.startswith("shepherd_")
    assert metric.name.endswith("_total") == isinstance(metric, CounterMetric)
    assert "duration" not in metric.name or metric.name.endswith("_duration_seconds")
    assert set(metric.labels) <= LABELS
    assert metric.help.endswith(".")
    assert "|" not in metric.help, "help texts stand in a Markdown table"


def test_histograms_stay_small_enough_to_scrape() -> None:
    """Each bound is one more time series per label set."""
    assert all(len(metric.bounds) <= 32 for metric in CATALOG if isinstance(metric, HistogramMetric))


def test_the_documentation_shows_this_catalog() -> None:
    """docs/metrics.md is generated: python -m serving.telemetry.catalog_page > docs/metrics.md."""
    assert PAGE.read_text(encoding="utf-8") == render_page()
