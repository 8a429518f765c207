"""The configuration of the gRPC door: Envoy ends gRPC in C++ and hands calls on over Unix sockets. Pure.

- `ModelInfer` crosses the reverse bridge: Envoy strips the gRPC frame and posts the bare protobuf message over HTTP/1.1
  to a router's callback path, balanced per request over all routers of the node.
- Everything else (streams, health, reflection, metadata) goes on as HTTP/2 to a router's grpc.aio server.

The bridge alone knows only HTTP codes, so failures come back as 200 with `x-grpc-status`; a Lua filter before it writes
them into the trailers that the client sees. Routers have numbered slots with fixed socket paths: a slot whose router is
down refuses the connection, and the call is sent to another one, which is safe because nothing was sent yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

#: Runs before the bridge on the way in, so after it on the way out. `bodyChunks` must be drained for trailers to exist.
STATUS_LUA: Final = """
function envoy_on_response(handle)
  local status = handle:headers():get("x-grpc-status")
  if status == nil then return end
  local message = handle:headers():get("x-grpc-message")
  handle:headers():remove("x-grpc-status")
  handle:headers():remove("x-grpc-message")
  for _ in handle:bodyChunks() do end
  local trailers = handle:trailers()
  if trailers ~= nil then
    trailers:replace("grpc-status", status)
    if message ~= nil then trailers:replace("grpc-message", message) end
  end
end
"""

_TYPE: Final = "type.googleapis.com/envoy.extensions"
_BRIDGE: Final = "envoy.filters.http.grpc_http1_reverse_bridge"
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class DoorTls(msgspec.Struct, frozen=True):
    """Files in PEM. With `client_ca`, clients must show a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class DoorConfig(msgspec.Struct, frozen=True):
    """What the door needs to know."""

    host: str
    port: int
    bridge_sockets: tuple[Path, ...]
    """Where each router takes bridged calls."""
    grpc_sockets: tuple[Path, ...]
    """Where each router's grpc.aio server listens."""
    admin_socket: Path
    max_message_bytes: int
    drain_timeout_s: float
    tls: DoorTls | None = None


def bootstrap(config: DoorConfig) -> dict[str, Any]:
    """Build Envoy's bootstrap document, complete and static."""
    return {
        "admin": {"address": {"pipe": {"path": str(config.admin_socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(config)],
            "clusters": [
                _cluster("bridge", config.bridge_sockets, {"http_protocol_options": {}}),
                _cluster("grpc", config.grpc_sockets, {"http2_protocol_options": _http2(config)}),
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 10_000,
                    },
                }
            ]
        },
    }


def _listener(config: DoorConfig) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(config)}]
    }
    if config.tls is not None:
        chain["transport_socket"] = _downstream_tls(config.tls)
    return {
        "name": "grpc",
        "address": {"socket_address": {"address": config.host, "port_value": config.port}},
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [chain],
    }


def _manager(config: DoorConfig) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "http2_protocol_options": _http2(config),
        "common_http_protocol_options": {"max_headers_count": 128, "headers_with_underscores_action": "ALLOW"},
        "max_request_headers_kb": 32,
        "drain_timeout": f"{config.drain_timeout_s:g}s",
        "stream_idle_timeout": "0s",  # the deadline of a call is its router's business
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes()}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.lua",
                "typed_config": {
                    "@type": f"{_TYPE}.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": STATUS_LUA},
                },
            },
            {
                "name": _BRIDGE,
                "typed_config": {
                    "@type": f"{_TYPE}.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
                    "content_type": "application/x-protobuf",
                    "withhold_grpc_frames": True,
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}},
        ],
    }


def _routes() -> list[Mapping[str, Any]]:
    off = {
        _BRIDGE: {"@type": f"{_TYPE}.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute", "disabled": True}
    }
    return [
        {"match": {"path": INFER}, "route": _route("bridge")},
        {"match": {"prefix": "/"}, "route": _route("grpc"), "typed_per_filter_config": off},
    ]


def _route(cluster: str) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 3,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 8,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        },
    }


def _cluster(name: str, sockets: Sequence[Path], protocol: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 10_000,
                    "max_pending_requests": 100_000,
                    "max_requests": 100_000,
                    "max_retries": 1000,
                }
            ]
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {"@type": f"type.googleapis.com/{_HTTP_OPTIONS}", "explicit_http_config": dict(protocol)}
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in sockets]}
            ],
        },
    }


def _http2(config: DoorConfig) -> dict[str, Any]:
    window = min(max(config.max_message_bytes, 1 << 16), 1 << 24)
    return {
        "max_concurrent_streams": 1024,
        "initial_stream_window_size": window,
        "initial_connection_window_size": window * 2,
        "connection_keepalive": {"interval": "60s", "timeout": "20s"},
    }


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
            "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": tls.client_ca is not None,
        },
    }
