"""What `deploy/` says of the gateway is true: its metrics, settings, ports and paths exist."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from router.gateway.routes import server
from router.settings import Settings
from router.settings_fields import KEYS
from serving.telemetry import catalog
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"]
MANIFESTS = {
    document["kind"]: document
    for path in (DEPLOY / "kubernetes").glob("*.yaml")
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
}
METRICS = {
    metric.name: metric
    for metric in vars(catalog).values()
    if isinstance(metric, CounterMetric | GaugeMetric | HistogramMetric)
}
RECORDED = {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}


def load_dashboard() -> ModuleType:
    path = DEPLOY / "grafana" / "dashboard.py"
    spec = importlib.util.spec_from_file_location("dashboard", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expressions() -> Iterator[str]:
    for group in RULES:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in load_dashboard().dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_an_expression_asks_for_metrics_and_labels_that_exist(expression: str) -> None:
    """A misspelt name would be an alert that never fires and a panel that stays empty."""
    names = re.findall(r"\bshepherd[a-z_]*(?::[a-z0-9_]+)*", expression)
    known = {"le"}
    for name in names:
        if name in RECORDED:
            known |= {"model", "version", "variant"}
            continue
        metric = METRICS.get(re.sub(r"_(bucket|sum|count)$", "", name)) or METRICS[name]
        known |= set(metric.labels)
    grouped = [label.strip() for inner in re.findall(r"by \(([^)]*)\)", expression) for label in inner.split(",")]
    matched = re.findall(r'(\w+)(?:=~|!=|=)"', expression)

    assert names
    assert {*grouped, *matched} <= known


def test_counters_are_asked_for_by_their_growth() -> None:
    """Their value is how long the gateway has run."""
    for expression in expressions():
        for name in re.findall(r"\bshepherd_\w+_total", expression):
            assert re.search(rf"(rate|increase)\({name}\b", expression), expression


def test_the_dashboard_is_what_its_table_says() -> None:
    """Change the table and write it again: `python deploy/grafana/dashboard.py`."""
    written = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))

    assert written == load_dashboard().dashboard()


def test_every_alert_says_how_bad_it_is_and_what_is_wrong() -> None:
    """Whoever is woken reads these two."""
    for group in RULES:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"]
                assert rule["annotations"]["summary"]


def container() -> dict[str, Any]:
    (found,) = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_pod_uses_settings_ports_and_paths_that_exist() -> None:
    """The manifest is read by machines that do not have ours."""
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    variables = {variable["name"].removeprefix("SHEPHERD_").lower() for variable in container()["env"]}
    paths = {container()[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    source = Path(server.__file__).read_text(encoding="utf-8")

    defaults = Settings(state_dir=Path("/var/lib/shepherd"))
    assert ports == {"http": defaults.http_port, "grpc": defaults.grpc_port, "metrics": defaults.metrics_port}
    assert variables <= set(KEYS)
    assert all(f'"{path}"' in source for path in paths)


def test_the_pod_has_as_little_power_as_it_can() -> None:
    """No root, no capabilities, no token of the cluster, and longer to end than the gateway takes to drain."""
    pod = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["terminationGracePeriodSeconds"] > Settings(state_dir=Path("/var/lib/shepherd")).drain_timeout_s


def test_the_admin_port_is_not_offered() -> None:
    """It stays on the pod's loopback."""
    offered = {port["port"] for port in MANIFESTS["Service"]["spec"]["ports"]}
    let_in = {port["port"] for rule in MANIFESTS["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}

    assert offered == {8000, 8001}
    assert let_in == {"http", "grpc", "metrics"}
