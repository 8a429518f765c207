"""What `deploy/` says of the gateway is true: its metrics, settings, ports and paths exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

from router.cli.main import cli
from router.gateway.http.routes import server
from router.settings import Settings
from router.settings_fields import KEYS
from router.settings_sources import variable_of
from serving.telemetry import catalog
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"]
MANIFESTS = {
    document["kind"]: document
    for path in (DEPLOY / "kubernetes" / "base").glob("*.yaml")
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


def actions() -> Iterator[str]:
    for group in RULES:
        for rule in group["rules"]:
            yield rule.get("annotations", {}).get("action", "")


@pytest.mark.parametrize("action", sorted({action for action in actions() if action}))
def test_what_an_alert_advises_can_be_typed(action: str) -> None:
    """Every command of ours stands in backticks, and is understood with its arguments."""
    commands = re.findall(r"`(shepherd [^`]+)`", action)
    assert len(commands) == len(re.findall(r"\bshepherd [a-z]", action))
    for command in commands:
        _, *words = shlex.split(re.sub(r"\{\{.*?\}\}", "flights", command))
        understood(cli, words)


def understood(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Raise `click.UsageError` for a command line that is none; runs nothing."""
    context = command.make_context(command.name, words, parent=parent)
    if isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        understood(found, rest, context)


def container() -> dict[str, Any]:
    (found,) = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_pod_uses_settings_ports_and_paths_that_exist() -> None:
    """The manifest is read by machines that do not have ours."""
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    variables = {variable["name"] for variable in container()["env"]}
    paths = {container()[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    source = Path(server.__file__).read_text(encoding="utf-8")

    defaults = Settings(state_dir=Path("/var/lib/shepherd"))
    assert ports == {"http": defaults.http_port, "grpc": defaults.grpc_port, "metrics": defaults.metrics_port}
    assert variables <= {variable_of(key) for key in KEYS}
    assert all(f'"{path}"' in source for path in paths)


def test_the_pod_has_as_little_power_as_it_can() -> None:
    """No root, no capabilities, no token of the cluster, and longer to end than the gateway takes to drain."""
    pod = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["terminationGracePeriodSeconds"] > Settings(state_dir=Path("/var/lib/shepherd")).drain_timeout_s


def test_the_pod_runs_as_the_user_of_the_image_in_a_folder_that_it_may_make() -> None:
    """The root of a volume belongs to root: a gateway could not close it to others, as it does with its state."""
    pod = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]
    mounts = {Path(mount["mountPath"]) for mount in container()["volumeMounts"]}
    state = next(Path(each["value"]) for each in container()["env"] if each["name"] == "SHEPHERD_STATE")
    for name in ("Dockerfile", "Dockerfile.gpu"):
        image = (DEPLOY.parent / name).read_text(encoding="utf-8")
        user, group = re.findall(r"--uid (\d+) --gid (\d+)", image)[0]
        assert f"\nUSER {user}\n" in image
        assert f"groupadd --system --gid {group} " in image
        security = pod["securityContext"]
        assert [security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")] == [int(user), int(group), int(group)]
    assert state.parent in mounts


def test_selectors_find_the_gateways_pod_and_no_other() -> None:
    """An empty one would isolate every pod of the namespace; the clients' one asks for nothing of the gateway's."""
    spec = MANIFESTS["StatefulSet"]["spec"]
    label = spec["template"]["metadata"]["labels"]
    clients, _ = MANIFESTS["NetworkPolicy"]["spec"]["ingress"]
    (added,) = MANIFESTS["Kustomization"]["labels"]

    assert label
    assert spec["selector"]["matchLabels"] == label
    assert MANIFESTS["Service"]["spec"]["selector"] == label
    assert MANIFESTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == label
    assert clients["from"][0]["podSelector"]["matchLabels"] == {"model-shepherd/client": "true"}
    assert (added["pairs"], added["includeSelectors"]) == (label, False)


@pytest.mark.parametrize(("overlay", "gpus"), [("cpu", None), ("gpu", 1)])
def test_an_overlay_is_the_base_with_an_image_and_its_device(overlay: str, gpus: int | None) -> None:
    """As `kubectl kustomize` builds it, where there is one."""
    folder = DEPLOY / "kubernetes" / overlay
    (image,) = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
    assert (image["name"], image["newTag"]) == (container()["image"], overlay)
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    built = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    (gateway,) = built["StatefulSet"]["spec"]["template"]["spec"]["containers"]

    assert gateway["image"] == f"{image['newName']}:{overlay}"
    assert gateway["resources"]["limits"].get("nvidia.com/gpu") == gpus
    assert {kind: built[kind]["spec"] for kind in ("Service", "NetworkPolicy")} == {
        kind: MANIFESTS[kind]["spec"] for kind in ("Service", "NetworkPolicy")
    }


def test_the_admin_port_is_not_offered() -> None:
    """It stays on the pod's loopback."""
    offered = {port["port"] for port in MANIFESTS["Service"]["spec"]["ports"]}
    let_in = {port["port"] for rule in MANIFESTS["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}

    assert offered == {8000, 8001}
    assert let_in == {"http", "grpc", "metrics"}
