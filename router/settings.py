"""Settings: one frozen object with everything that an operator may choose. Pure.

The fields of `Settings` are the whole list: their names are the keys of the settings file, and in capitals after
`SHEPHERD_` the variables (`router.settings_sources`); their annotations hold range and meaning.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

DEFAULT_STATE_DIR: Final = "~/.shepherd"

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
LogLevel = Literal["debug", "info", "warning", "error"]
GrpcDoorKind = Literal["auto", "envoy", "aio"]
ApiKeys = Literal["ignored", "required"]
Bytes = Annotated[int, Meta(ge=1, le=1 << 50)]
SeverityWord = Literal["warning", "critical", "emergency"]
RetrainWords = Literal["generic", "airflow", "airflow2", "prefect"]


class SettingsError(ValueError):
    """A setting is unknown, out of range or at odds with another: the message names it and says what is valid."""


def _about(description: str) -> Meta:
    return Meta(description=description)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator may choose about one gateway node."""

    state_dir: Annotated[Path, _about("Directory that holds all state; delete it to start afresh.")]

    host: Annotated[str, _about("Address of the HTTP, gRPC and metrics ports.")] = "127.0.0.1"
    http_port: Annotated[Port, _about("Inference over HTTP.")] = 8000
    grpc_port: Annotated[Port, _about("Inference over gRPC.")] = 8001
    metrics_port: Annotated[Port, _about("Prometheus scrape of all processes of the node.")] = 8002
    admin_host: Annotated[str, _about("Address of the admin API and web page.")] = "127.0.0.1"
    admin_port: Annotated[Port, _about("Admin API and web page.")] = 8080
    allow_remote_admin: Annotated[bool, _about("Let the admin API listen beyond loopback, unencrypted.")] = False
    admin_allowed_hosts: Annotated[
        tuple[str, ...], _about("Names, beside loopback's, that an admin request's Host may carry.")
    ] = ()

    tls_certificate: Annotated[
        Path | None, _about("PEM file with the certificate chain of the HTTP and gRPC ports; none serves in the clear.")
    ] = None
    tls_key: Annotated[Path | None, _about("PEM file with the certificate's private key.")] = None
    tls_client_ca: Annotated[
        Path | None, _about("PEM file with the authorities whose certificates clients must show.")
    ] = None
    api_keys: Annotated[
        ApiKeys,
        _about("Whether requests to the HTTP and gRPC ports need an API key of `shepherd key`; health does not."),
    ] = "ignored"
    grpc_door: Annotated[
        GrpcDoorKind,
        _about("Who ends gRPC: envoy, aio (Python), or auto: Envoy where its wheel and our own Ray cluster are."),
    ] = "auto"
    grpc_threads: Annotated[int, Meta(ge=1, le=64), _about("Threads of the gRPC door's Envoy.")] = 1

    routers: Annotated[int, Meta(ge=1, le=256), _about("Router processes that share the public ports.")] = 1
    redis_url: Annotated[str | None, _about("Redis or Valkey to use; none starts an embedded one.")] = None
    registry_uri: Annotated[str | None, _about("MLflow tracking server; none uses one inside the state directory.")] = (
        None
    )
    registry_allowed_folders: Annotated[
        tuple[str, ...], _about("Where versions may have local files, beside the state directory's registry.")
    ] = ()
    registry_poll_s: Annotated[Seconds, _about("How often to look where the registry's aliases point.")] = 5.0
    registry_webhook_key_file: Annotated[
        Path | None, _about("File with the secret of the registry's webhooks; none leaves it to polling.")
    ] = None
    cache_max_bytes: Annotated[Bytes, _about("Disk for verified versions; beyond it the least used ones go.")] = (
        20 * _GIB
    )
    backend_allowed_hosts: Annotated[
        tuple[str, ...], _about("Machines, beside this one, where versions may live on a Triton.")
    ] = ()
    triton_push_folder: Annotated[
        Path | None, _about("Model repository of Tritons, where versions that ask for it put their ONNX file.")
    ] = None
    ray_address: Annotated[str | None, _about("Ray cluster to join; none starts a local one.")] = None

    request_timeout_s: Annotated[Seconds, _about("Deadline of a request that names none.")] = 30.0
    max_in_flight: Annotated[
        int, Meta(ge=1, le=1_000_000), _about("Requests one router holds at once; beyond it: 429.")
    ] = 2048
    max_body_bytes: Annotated[Bytes, _about("Largest request body; beyond it: 413.")] = 64 * _MIB
    keep_alive_s: Annotated[Seconds, _about("How long an idle HTTP connection stays open.")] = 75.0
    drain_timeout_s: Annotated[Seconds, _about("How long a stopping process waits for what is in flight.")] = 10.0
    policy_poll_s: Annotated[Seconds, _about("How often routers re-read policies, beside being told.")] = 1.0
    scale_interval_s: Annotated[Seconds, _about("How often replicas report their load to the autoscaler.")] = 0.5
    scale_up_delay_s: Annotated[
        float, Meta(ge=0, le=3600), _about("How long load must ask for more replicas before there are.")
    ] = 1.0
    scale_down_delay_s: Annotated[
        float, Meta(ge=0, le=86_400), _about("How long load must ask for fewer replicas before there are.")
    ] = 60.0
    scale_to_zero_after_s: Annotated[
        float, Meta(ge=0, le=86_400), _about("How long a version that may scale to zero keeps its last, idle replica.")
    ] = 300.0
    host_default: Annotated[
        Literal["own", "auto"], _about("Where versions without the tag shepherd.host run: own process, or auto.")
    ] = "own"
    host_auto_max_bytes: Annotated[Bytes, _about("Largest model that auto lets share a process.")] = 16 * _MIB
    host_max_versions: Annotated[
        int, Meta(ge=1, le=1000), _about("Versions that live in one shared process, loaded or cold.")
    ] = 100
    host_max_bytes: Annotated[Bytes, _about("Bytes of their files together.")] = _GIB
    host_max_loaded: Annotated[
        int, Meta(ge=1, le=1000), _about("Versions loaded in one shared process; beyond it the least used go cold.")
    ] = 32
    host_cold_after_s: Annotated[Seconds, _about("How long a version there stays loaded without a request.")] = 300.0
    ready_timeout_s: Annotated[Seconds, _about("How long a policy change waits for its versions to be ready.")] = 60.0

    retrained_rollout: Annotated[
        bool, _about("Roll out by itself, as a shadow first, a version whose tag names an incident.")
    ] = False
    standby_s: Annotated[
        float, Meta(ge=0, le=30 * 86_400), _about("How long the versions of the last good policy stay loaded after it.")
    ] = 86_400.0
    hard_failure_watch_s: Annotated[
        float,
        Meta(ge=0, le=30 * 86_400),
        _about("How long hard failures take a version's raised share back; 0: never."),
    ] = 600.0
    hard_failure_cool_down_s: Annotated[
        float, Meta(ge=0, le=30 * 86_400), _about("How long a version so taken back gets no share, unless forced.")
    ] = 300.0
    webhook_hosts: Annotated[
        tuple[str, ...],
        _about("Hosts that webhooks may call; addresses inside a network only where IP or CIDR is listed."),
    ] = ()

    log_enabled: Annotated[bool, _about("Record requests and predictions.")] = True
    log_sample_bp: Annotated[
        int, Meta(ge=0, le=10_000), _about("Share of requests recorded, in basis points (10000 = all).")
    ] = 10_000
    log_payload_max_bytes: Annotated[Bytes, _about("Largest tensor payload a record keeps; larger are cut.")] = (
        64 * _KIB
    )
    log_rules_file: Annotated[
        Path | None, _about("YAML file of what the log keeps of single models, and what it hides; none hides nothing.")
    ] = None
    log_retention_s: Annotated[
        float, Meta(ge=0, le=3650 * 86_400), _about("Age at which records leave Redis; 0 keeps them while they fit.")
    ] = 0.0
    log_retention_bytes: Annotated[Bytes, _about("Recorded bytes kept in Redis before the oldest go.")] = 256 * _MIB
    log_parquet_folder: Annotated[
        Path | None, _about("Folder that gets the whole log as Parquet files, for good; none leaves it in Redis alone.")
    ] = None
    log_parquet_interval_s: Annotated[Seconds, _about("How long a record waits at most for its file.")] = 60.0
    log_parquet_max_bytes: Annotated[
        int, Meta(ge=0, le=1 << 50), _about("Size of that folder beyond which the oldest files go; 0: no bound.")
    ] = 0
    log_parquet_retention_days: Annotated[
        int, Meta(ge=0, le=36_500), _about("Whole days that the folder keeps beside the youngest; 0 keeps all.")
    ] = 0
    spool_max_bytes: Annotated[Bytes, _about("Disk for records that are not shipped yet; beyond it they drop.")] = _GIB
    spool_segment_bytes: Annotated[Bytes, _about("Size at which a spool file is closed and the next begun.")] = (
        16 * _MIB
    )

    monitor_enabled: Annotated[bool, _about("Watch the log for drift, and labels for drops of performance.")] = True
    monitor_workers: Annotated[
        int, Meta(ge=1, le=64), _about("Processes that count what the log holds; with 1 the monitor itself does.")
    ] = 1
    monitor_window_rows: Annotated[int, Meta(ge=1, le=1_000_000), _about("Rows on which drift is judged at once.")] = (
        1000
    )
    monitor_reference_rows: Annotated[
        int, Meta(ge=10, le=1_000_000), _about("First rows that a version without a profile is held against.")
    ] = 1000
    monitor_baseline_labels: Annotated[
        int, Meta(ge=50, le=1_000_000), _about("First labelled rows that a version without a profile is held to.")
    ] = 500
    monitor_label_ttl_s: Annotated[
        float, Meta(ge=60, le=400 * 86_400), _about("How long an answer waits for its label.")
    ] = 7 * 86_400.0
    monitor_rollback: Annotated[bool, _about("Roll back by itself when performance drops by more than 15 %.")] = True
    incident_webhooks: Annotated[tuple[str, ...], _about("URLs that get CloudEvents of incidents.")] = ()
    incident_webhooks_at: Annotated[SeverityWord, _about("Least severity that they are told of.")] = "warning"
    alert_webhooks: Annotated[tuple[str, ...], _about("URLs that get incidents as Alertmanager posts alerts.")] = ()
    alert_webhooks_at: Annotated[SeverityWord, _about("Least severity that they are told of.")] = "warning"
    alertmanager_webhooks: Annotated[
        tuple[str, ...], _about("URLs of Alertmanagers (ending in /api/v2/alerts) that incidents are pushed to.")
    ] = ()
    alertmanager_webhooks_at: Annotated[SeverityWord, _about("Least severity that they are told of.")] = "warning"
    retrain_at: Annotated[SeverityWord, _about("Severity at which a retraining is asked for.")] = "critical"
    retrain_url: Annotated[str | None, _about("Where a retraining is asked for; none asks nobody.")] = None
    retrain_format: Annotated[RetrainWords, _about("Whose words a retraining is asked for in.")] = "generic"
    retrain_authorization_file: Annotated[
        Path | None, _about("File with the Authorization header for retrain_url, as Bearer TOKEN; read for each call.")
    ] = None
    retrain_authorization: Annotated[
        str | None, _about("The same from a variable or the settings file; never shown, and no flag.")
    ] = None

    metrics_interval_s: Annotated[Seconds, _about("How often a process publishes its metrics.")] = 0.5
    log_level: Annotated[LogLevel, _about("Least severe line of the gateway's own log.")] = "info"

    def __post_init__(self) -> None:
        """Check what no single field can; also when settings are built by hand."""
        _check_state_dir(self.state_dir)
        _check_ports(self)
        if not self.allow_remote_admin and not is_loopback(self.admin_host):
            raise SettingsError(
                f"admin_host: {self.admin_host} is reachable from other machines and the admin API is not encrypted; "
                "use 127.0.0.1, or set allow_remote_admin if something in front of it adds TLS"
            )
        _check_tls(self)
        if self.grpc_door == "envoy" and self.ray_address is not None:
            raise SettingsError(
                "grpc_door: routers of a joined Ray cluster may be on other machines, out of reach of envoy; use aio"
            )
        _check_url("redis_url", self.redis_url, ("redis", "rediss", "unix"))
        _check_url("retrain_url", self.retrain_url, ("http", "https"))
        for key in ("incident_webhooks", "alert_webhooks", "alertmanager_webhooks"):
            for url in getattr(self, key):
                _check_url(key, url, ("http", "https"))
        _check_url("registry_uri", self.registry_uri, ("http", "https", "sqlite"))
        if self.retrain_authorization is not None and self.retrain_authorization_file is not None:
            raise SettingsError("retrain_authorization, retrain_authorization_file: give one of them")
        if self.spool_segment_bytes > self.spool_max_bytes:
            raise SettingsError(
                f"spool_segment_bytes: {self.spool_segment_bytes} is more than spool_max_bytes, {self.spool_max_bytes}"
            )

    def __repr__(self) -> str:
        """Show every setting but those that are secret."""
        shown = {key: "***" if key in SECRET_KEYS else getattr(self, key) for key in self.__struct_fields__}
        return f"Settings({', '.join(f'{key}={value!r}' for key, value in shown.items())})"


SECRET_KEYS: Final = frozenset({"retrain_authorization"})
"""Settings that are neither shown nor flags, which every user of the machine could read."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address; a name other than `localhost` never counts."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_state_dir(path: Path) -> None:
    if not path.is_absolute():
        raise SettingsError(f"state_dir: {path} is not absolute; processes of the gateway differ in where they start")


def _check_ports(settings: Settings) -> None:
    taken: dict[int, str] = {}
    for key in ("http_port", "grpc_port", "metrics_port", "admin_port"):
        port = getattr(settings, key)
        if port in taken:
            raise SettingsError(f"{key}: {port} is also {taken[port]}; each needs a port of its own")
        taken[port] = key


def _check_tls(settings: Settings) -> None:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingsError("tls_certificate, tls_key: one is of no use without the other")
    if settings.tls_client_ca is not None and settings.tls_certificate is None:
        raise SettingsError("tls_client_ca: clients show certificates only to a server that has tls_certificate")


def _check_url(key: str, url: str | None, schemes: tuple[str, ...]) -> None:
    if url is not None and urlsplit(url).scheme not in schemes:
        raise SettingsError(f"{key}: must begin with {', '.join(scheme + '://' for scheme in schemes)}")
