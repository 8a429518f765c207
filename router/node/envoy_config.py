"""The configuration of the gRPC door: Envoy ends gRPC in C++ and hands calls on over Unix sockets. Pure.

- `ModelInfer` goes on to a router's callback path (`router.gateway.http.http2`), balanced per call over all routers of
  the node. A connection carries many calls, and Envoy and router read and write many of them at once.
- Everything else (streams, health, reflection, metadata) goes on to a router's grpc.aio server.

No filter looks at a call but the router that forwards it, so status, message and metadata are the gateway's own.

Routers have numbered slots with fixed socket paths, more of them than there are routers, so that a successor finds one.
A slot that refuses the connection is left out at once, one that a health check finds answering is taken in again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from router.node.envoy_stats import INFER, NAMES, OTHER

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions"
_INFER_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#: What a router should not see: codings are the connection's, not the call's; the rest would be read for nothing.
_HOP_HEADERS: Final = ("accept-encoding", "content-encoding", "te", "x-envoy-external-address", "x-forwarded-proto")
_MAX_METADATA_KB: Final = 256
#: Held back per connection and direction before the sender is told to wait.
_BUFFER_BYTES: Final = 1 << 20
_STREAM_WINDOW_BYTES: Final = 1 << 20
#: No answer that one client leaves unread may hold up those of others on the same connection.
_MAX_WINDOW_BYTES: Final = (1 << 31) - 1
_MAX_CONNECTIONS: Final = 10_000
#: Calls in flight over all connections; routers refuse long before.
_MAX_CALLS: Final = 100_000


class DoorTls(msgspec.Struct, frozen=True):
    """Files in PEM. With `client_ca`, clients must show a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(file for file in (self.certificate, self.key, self.client_ca) if file is not None)


class DoorConfig(msgspec.Struct, frozen=True):
    """What the door needs to know."""

    host: str
    port: int
    infer_sockets: tuple[Path, ...]
    """Where each router takes `ModelInfer`, by slot."""
    grpc_sockets: tuple[Path, ...]
    """Where each router's grpc.aio server listens, by slot."""
    idle_s: float
    """Idle connections to routers are closed after this time: sooner than routers would, so that no call meets one."""
    tls: DoorTls | None = None


def bootstrap(config: DoorConfig, admin_socket: Path) -> dict[str, Any]:
    """Build Envoy's bootstrap document, complete and static."""
    connections = f"{_EXTENSIONS}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(config)],
            "clusters": [
                _cluster(INFER, config.infer_sockets, config.idle_s, _plain_http2(), _http_check()),
                _cluster(OTHER, config.grpc_sockets, config.idle_s, _http2(), _grpc_check()),
            ],
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [{"exact": name} for name in NAMES]}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {"@type": connections, "max_active_downstream_connections": _MAX_CONNECTIONS},
                }
            ]
        },
    }


def _listener(config: DoorConfig) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager()}]
    }
    if config.tls is not None:
        chain["transport_socket"] = _downstream_tls(config.tls)
        chain["transport_socket_connect_timeout"] = "10s"
    return {
        "name": "grpc",
        "address": {"socket_address": {"address": config.host, "port_value": config.port}},
        "enable_reuse_port": True,  # lets a successor listen beside its predecessor
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _manager() -> dict[str, Any]:
    return {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "http2_protocol_options": {
            **_http2_options(),
            "max_concurrent_streams": 1024,
            "override_stream_error_on_invalid_http_message": True,  # a bad call costs itself, not its connection
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
        },
        "common_http_protocol_options": {
            "max_headers_count": _MAX_METADATA_KB * 1024 // 32,
            "headers_with_underscores_action": "ALLOW",
        },
        # Well beyond what routers take, for it is they who say so: what Envoy refuses is INTERNAL to a client.
        "max_request_headers_kb": _MAX_METADATA_KB,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "0s",  # the deadline of a call is its router's business
        "drain_timeout": "0.5s",
        "generate_request_id": False,
        "use_remote_address": True,  # headers that steer Envoy are taken from no client
        # An empty list would mean Envoy's own idea of internal, which includes loopback: name what nobody can be.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "skip_xff_append": True,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes()}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_EXTENSIONS}.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }


def _routes() -> list[Mapping[str, Any]]:
    """An inference may be sent again after any loss: it changes nothing. Other calls only if they were never sent."""
    unsent = "connect-failure,refused-stream,reset-before-request"
    return [
        {
            "match": {"path": _INFER_PATH, "grpc": {}},
            "route": _route(INFER, f"{unsent},reset"),
            "request_headers_to_remove": list(_HOP_HEADERS),
        },
        {"match": {"prefix": "/", "grpc": {}}, "route": _route(OTHER, unsent)},
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 415, "body": {"inline_string": "gRPC is spoken here"}},
        },
    ]


def _route(cluster: str, retry_on: str) -> dict[str, Any]:
    previous_hosts = f"{_EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "cluster": cluster,
        "timeout": "0s",
        "retry_policy": {
            "retry_on": retry_on,
            "num_retries": 3,
            "retry_host_predicate": [
                {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": previous_hosts}}
            ],
            "host_selection_retry_max_attempts": 8,
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.1s"},
        },
    }


def _cluster(
    name: str, sockets: Sequence[Path], idle_s: float, protocol: Mapping[str, Any], check: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        # When no slot is known to answer, all are tried: checks that fail must not cost a call that might be served.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _MAX_CALLS,
                    "max_pending_requests": _MAX_CALLS,
                    "max_requests": _MAX_CALLS,
                    "max_retries": 1024,
                }
            ]
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{idle_s:g}s"},
                "explicit_http_config": dict(protocol),
            }
        },
        "health_checks": [_health_check(check)],
        "outlier_detection": _ejection(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in sockets]}
            ],
        },
    }


def _health_check(check: Mapping[str, Any]) -> dict[str, Any]:
    """A router that hangs is left out after some seconds; one that has started is found within one."""
    return {
        "timeout": "5s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_interval": "0.5s",
        "unhealthy_edge_interval": "0.1s",
        "no_traffic_healthy_interval": "1s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 2,
        **check,
    }


def _ejection() -> dict[str, Any]:
    """Leave a slot out at its first refused connection, for a second; failures that routers answer do not count."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 1,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "0.25s",
        "base_ejection_time": "1s",
        "max_ejection_time": "1s",
        "max_ejection_percent": 100,
    }


def _plain_http2() -> dict[str, Any]:
    """Without a table of headers: routers then know equal calls by equal bytes, and read them once."""
    options = {**_http2_options(), "hpack_table_size": 0, "initial_connection_window_size": _MAX_WINDOW_BYTES}
    return {"http2_protocol_options": options}


def _http2() -> dict[str, Any]:
    return {"http2_protocol_options": _http2_options()}


def _http2_options() -> dict[str, Any]:
    return {
        "initial_stream_window_size": _STREAM_WINDOW_BYTES,
        "initial_connection_window_size": 4 * _STREAM_WINDOW_BYTES,
    }


def _http_check() -> dict[str, Any]:
    return {"http_health_check": {"path": "/v2/health/live", "codec_client_type": "HTTP2"}}


def _grpc_check() -> dict[str, Any]:
    # Whether a router is there, not whether its models are: calls for those that are must not wait for the others.
    return {"grpc_health_check": {"service_name": "liveness"}}


def _downstream_tls(tls: DoorTls) -> dict[str, Any]:
    common: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": str(tls.certificate)}, "private_key": {"filename": str(tls.key)}}
        ],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
    }
    if tls.client_ca is not None:
        common["validation_context"] = {"trusted_ca": {"filename": str(tls.client_ca)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": tls.client_ca is not None,
        },
    }
