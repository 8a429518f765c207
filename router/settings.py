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

from router.masking import masked

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

    host: Annotated[str, _about("Address that the HTTP, gRPC and metrics ports listen on.")] = "127.0.0.1"
    http_port: Annotated[Port, _about("Port for inference over HTTP.")] = 8000
    grpc_port: Annotated[Port, _about("Port for inference over gRPC.")] = 8001
    metrics_port: Annotated[Port, _about("Port for Prometheus; covers all processes of the node.")] = 8002
    admin_host: Annotated[str, _about("Address that the admin API and web page listen on.")] = "127.0.0.1"
    admin_port: Annotated[Port, _about("Port of the admin API and web page.")] = 8080
    allow_remote_admin: Annotated[bool, _about("Let the admin API listen beyond loopback, without TLS.")] = False
    admin_allowed_hosts: Annotated[
        tuple[str, ...], _about("Host names that admin requests may use, besides loopback's.")
    ] = ()

    tls_certificate: Annotated[
        Path | None, _about("PEM file with the certificate chain of the HTTP and gRPC ports; default: no TLS.")
    ] = None
    tls_key: Annotated[Path | None, _about("PEM file with the certificate's private key.")] = None
    tls_client_ca: Annotated[
        Path | None, _about("PEM file with the CAs of client certificates; default: none are required.")
    ] = None
    api_keys: Annotated[
        ApiKeys, _about("Whether the HTTP and gRPC ports require an API key (`shepherd key`); health never does.")
    ] = "ignored"
    grpc_door: Annotated[
        GrpcDoorKind,
        _about("What terminates gRPC: envoy, aio (Python), or auto (Envoy if installed and Ray is local)."),
    ] = "auto"
    grpc_threads: Annotated[int, Meta(ge=1, le=64), _about("Threads of Envoy.")] = 1

    routers: Annotated[int, Meta(ge=1, le=256), _about("Router processes that share the public ports.")] = 1
    redis_url: Annotated[str | None, _about("Redis or Valkey to use; default: an embedded Valkey.")] = None
    registry_uri: Annotated[str | None, _about("MLflow tracking server; default: one in the state directory.")] = None
    registry_allowed_folders: Annotated[
        tuple[str, ...], _about("Folders, besides the embedded registry, from which versions may load local files.")
    ] = ()
    registry_poll_s: Annotated[Seconds, _about("How often the registry's aliases are read.")] = 5.0
    registry_webhook_key_file: Annotated[
        Path | None, _about("File with the secret of the registry's webhooks; default: polling only.")
    ] = None
    cache_max_bytes: Annotated[
        Bytes, _about("Disk space for verified versions; beyond it the least recently used are deleted.")
    ] = 20 * _GIB
    backend_allowed_hosts: Annotated[
        tuple[str, ...], _about("Hosts, besides this machine, whose Triton servers versions may use.")
    ] = ()
    triton_push_folder: Annotated[
        Path | None, _about("Triton model repository for versions that ask to be pushed; default: pushing is refused.")
    ] = None
    ray_address: Annotated[str | None, _about("Ray cluster to join; default: a local one.")] = None

    request_timeout_s: Annotated[Seconds, _about("Deadline of every request; a client can only shorten it.")] = 30.0
    max_in_flight: Annotated[
        int, Meta(ge=1, le=1_000_000), _about("Requests that one router handles at once; more get 429.")
    ] = 2048
    max_body_bytes: Annotated[Bytes, _about("Largest request body; larger requests get 413.")] = 64 * _MIB
    keep_alive_s: Annotated[Seconds, _about("How long an idle HTTP connection stays open.")] = 75.0
    drain_timeout_s: Annotated[Seconds, _about("How long a stopping process waits for requests in flight.")] = 10.0
    policy_poll_s: Annotated[Seconds, _about("How often routers re-read policies, in addition to notifications.")] = 1.0
    scale_interval_s: Annotated[Seconds, _about("How often replicas report their load to the autoscaler.")] = 0.5
    scale_up_delay_s: Annotated[
        float, Meta(ge=0, le=3600), _about("How long load must ask for more replicas before they are added.")
    ] = 1.0
    scale_down_delay_s: Annotated[
        float, Meta(ge=0, le=86_400), _about("How long load must ask for fewer replicas before they are removed.")
    ] = 60.0
    scale_to_zero_after_s: Annotated[
        float, Meta(ge=0, le=86_400), _about("How long a version that may scale to zero keeps its last, idle replica.")
    ] = 300.0
    host_default: Annotated[
        Literal["own", "auto"],
        _about("Versions without the tag shepherd.host: own process, or auto (small ones share)."),
    ] = "own"
    host_auto_max_bytes: Annotated[Bytes, _about("Largest model that auto puts into a shared process.")] = 16 * _MIB
    host_max_versions: Annotated[
        int, Meta(ge=1, le=1000), _about("Versions in one shared process, loaded or cold.")
    ] = 100
    host_max_bytes: Annotated[Bytes, _about("Total file size of the versions in one shared process.")] = _GIB
    host_max_loaded: Annotated[
        int, Meta(ge=1, le=1000), _about("Versions loaded in one shared process; more unload the least used.")
    ] = 32
    host_cold_after_s: Annotated[
        Seconds, _about("How long a version in a shared process stays loaded without a request.")
    ] = 300.0
    ready_timeout_s: Annotated[Seconds, _about("How long a policy change waits until its versions are ready.")] = 60.0

    retrained_rollout: Annotated[
        bool, _about("Start a rollout, first as a shadow, of versions whose tag names an incident.")
    ] = False
    standby_s: Annotated[
        float, Meta(ge=0, le=30 * 86_400), _about("How long versions of the last good policy stay loaded after it.")
    ] = 86_400.0
    hard_failure_watch_s: Annotated[
        float,
        Meta(ge=0, le=30 * 86_400),
        _about("Seconds after a share is raised during which hard failures undo it; 0 disables."),
    ] = 600.0
    hard_failure_cool_down_s: Annotated[
        float, Meta(ge=0, le=30 * 86_400), _about("How long a version then gets no share, unless forced.")
    ] = 300.0
    webhook_hosts: Annotated[
        tuple[str, ...], _about("Hosts that webhooks may call; private addresses only if listed as IP or CIDR.")
    ] = ()

    log_enabled: Annotated[bool, _about("Log requests and predictions.")] = True
    log_sample_bp: Annotated[
        int, Meta(ge=0, le=10_000), _about("Share of requests logged, in basis points (10000 = all).")
    ] = 10_000
    log_payload_max_bytes: Annotated[
        Bytes, _about("Largest tensor payload that a record keeps; larger ones are left out and marked.")
    ] = 64 * _KIB
    log_rules_file: Annotated[
        Path | None, _about("YAML file with sampling, caps and redaction per model; default: no rules.")
    ] = None
    log_retention_s: Annotated[
        float, Meta(ge=0, le=3650 * 86_400), _about("Age at which records are deleted from Redis; 0: by size only.")
    ] = 0.0
    log_retention_bytes: Annotated[
        Bytes, _about("Size of the log in Redis beyond which the oldest records are deleted.")
    ] = 256 * _MIB
    log_parquet_folder: Annotated[
        Path | None, _about("Folder to which the whole log is written as Parquet files; default: not written.")
    ] = None
    log_parquet_interval_s: Annotated[Seconds, _about("Longest time until a record is in a file.")] = 60.0
    log_parquet_max_bytes: Annotated[
        int, Meta(ge=0, le=1 << 50), _about("Size at which that folder's oldest files are deleted; 0: never.")
    ] = 0
    log_parquet_retention_days: Annotated[
        int, Meta(ge=0, le=36_500), _about("Full days kept in that folder besides the newest; 0: all.")
    ] = 0
    spool_max_bytes: Annotated[
        Bytes, _about("Disk space for records not yet shipped; beyond it records are dropped.")
    ] = _GIB
    spool_segment_bytes: Annotated[Bytes, _about("Size at which a spool file is closed and a new one started.")] = (
        16 * _MIB
    )

    monitor_enabled: Annotated[bool, _about("Watch the log for drift, and labels for performance drops.")] = True
    monitor_workers: Annotated[
        int, Meta(ge=1, le=64), _about("Processes that read the log; with 1, the monitor reads it itself.")
    ] = 1
    monitor_window_rows: Annotated[int, Meta(ge=1, le=1_000_000), _about("Rows of one drift window.")] = 1000
    monitor_reference_rows: Annotated[
        int, Meta(ge=10, le=1_000_000), _about("Rows that are the reference of a version without a profile.")
    ] = 1000
    monitor_baseline_labels: Annotated[
        int, Meta(ge=50, le=1_000_000), _about("Labelled rows that are the baseline of a version without a profile.")
    ] = 500
    monitor_label_ttl_s: Annotated[
        float, Meta(ge=60, le=400 * 86_400), _about("How long an answer waits for its label.")
    ] = 7 * 86_400.0
    monitor_rollback: Annotated[bool, _about("Roll back when performance drops by more than 15 %.")] = True
    incident_webhooks: Annotated[tuple[str, ...], _about("URLs that receive incidents as CloudEvents.")] = ()
    incident_webhooks_at: Annotated[SeverityWord, _about("Lowest severity sent to incident_webhooks.")] = "warning"
    alert_webhooks: Annotated[
        tuple[str, ...], _about("URLs that receive incidents in Alertmanager's webhook format.")
    ] = ()
    alert_webhooks_at: Annotated[SeverityWord, _about("Lowest severity sent to alert_webhooks.")] = "warning"
    alertmanager_webhooks: Annotated[
        tuple[str, ...], _about("Alertmanager URLs (ending in /api/v2/alerts) that receive incidents.")
    ] = ()
    alertmanager_webhooks_at: Annotated[SeverityWord, _about("Lowest severity sent to alertmanager_webhooks.")] = (
        "warning"
    )
    retrain_at: Annotated[SeverityWord, _about("Lowest severity that requests a retraining.")] = "critical"
    retrain_url: Annotated[str | None, _about("URL that receives retrain requests; default: none are sent.")] = None
    retrain_format: Annotated[RetrainWords, _about("Format of retrain requests.")] = "generic"
    retrain_authorization_file: Annotated[
        Path | None, _about("File with the Authorization header for retrain_url (Bearer TOKEN); read for each call.")
    ] = None
    retrain_authorization: Annotated[
        str | None, _about("The same header from a variable or the settings file; never shown, and no flag.")
    ] = None

    metrics_interval_s: Annotated[Seconds, _about("How often each process publishes its metrics.")] = 0.5
    log_level: Annotated[LogLevel, _about("Lowest level of the gateway's own log.")] = "info"

    def __post_init__(self) -> None:
        """Check what no single field can; also when settings are built by hand."""
        _check_state_dir(self.state_dir)
        _check_ports(self)
        if not self.allow_remote_admin and not is_loopback(self.admin_host):
            raise SettingsError(
                f"admin_host: {self.admin_host} is reachable from other machines, and the admin API has no TLS; "
                "use 127.0.0.1, or set allow_remote_admin if a proxy in front of it adds TLS"
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
            raise SettingsError("retrain_authorization, retrain_authorization_file: set only one of them")
        if self.spool_segment_bytes > self.spool_max_bytes:
            raise SettingsError(
                f"spool_segment_bytes: {self.spool_segment_bytes} is more than spool_max_bytes, {self.spool_max_bytes}"
            )

    def __repr__(self) -> str:
        """Show every setting, with secrets masked."""
        return f"Settings({', '.join(f'{key}={masked(key, getattr(self, key))!r}' for key in self.__struct_fields__)})"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address; a name other than `localhost` never counts."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_state_dir(path: Path) -> None:
    if not path.is_absolute():
        raise SettingsError(f"state_dir: {path} must be absolute, since processes start in different directories")


def _check_ports(settings: Settings) -> None:
    taken: dict[int, str] = {}
    for key in ("http_port", "grpc_port", "metrics_port", "admin_port"):
        port = getattr(settings, key)
        if port in taken:
            raise SettingsError(f"{key}: {port} is also {taken[port]}; each port must be different")
        taken[port] = key


def _check_tls(settings: Settings) -> None:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingsError("tls_certificate, tls_key: set both or neither")
    if settings.tls_client_ca is not None and settings.tls_certificate is None:
        raise SettingsError("tls_client_ca: requires tls_certificate")


def _check_url(key: str, url: str | None, schemes: tuple[str, ...]) -> None:
    try:
        scheme = urlsplit(url).scheme if url is not None else schemes[0]
    except ValueError as error:
        raise SettingsError(f"{key}: not a URL: {error}") from None
    if scheme not in schemes:
        raise SettingsError(f"{key}: must begin with {', '.join(scheme + '://' for scheme in schemes)}")
