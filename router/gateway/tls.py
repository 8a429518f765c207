"""TLS at the doors: a server certificate, and client certificates where a CA for them is named."""

from __future__ import annotations

import ssl
from typing import Any

import grpc

from router.settings import Settings


def http_tls(settings: Settings) -> dict[str, Any]:
    """Name the certificates in uvicorn's words; empty where the door speaks plain HTTP."""
    if settings.tls_certificate is None:
        return {}
    arguments: dict[str, Any] = {
        "ssl_certfile": str(settings.tls_certificate),
        "ssl_keyfile": str(settings.tls_key),
    }
    if settings.tls_client_ca is not None:
        arguments |= {"ssl_ca_certs": str(settings.tls_client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return arguments


def grpc_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Read the certificates for gRPC; None where the door speaks plain HTTP/2.

    Raises:
        OSError: a file cannot be read.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    ca = settings.tls_client_ca.read_bytes() if settings.tls_client_ca is not None else None
    return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)
