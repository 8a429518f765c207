"""TLS at the doors: a server certificate, and client certificates where a CA for them is named.

Files that are renewed are read anew for the connections that come after; those that are open stay as they are. Files
that cannot be read are reported, and the doors go on with what they had.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from router.adapters.files.watch import LOOK_S, FileWatch
from router.settings import Settings

_log = logging.getLogger(__name__)


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


async def follow_certificates(settings: Settings, context: ssl.SSLContext) -> None:
    """Keep a server's context up to date for as long as the task lives.

    A renewed authority of clients is taken in beside the one before, which Python cannot take back.
    """
    watch = FileWatch(_files(settings))
    while True:
        await asyncio.sleep(LOOK_S)
        if not watch.has_changed():
            continue
        try:
            # On the loop, where handshakes are made: nothing may use the context meanwhile.
            read_certificates(settings, context)
        except OSError as error:
            _log.error("HTTP goes on with the certificates that it has: %s", error)
        else:
            _log.info("HTTP has read its certificates anew")


def read_certificates(settings: Settings, context: ssl.SSLContext) -> None:
    """Load the files of the settings into a server's context.

    Raises:
        OSError: a file cannot be read, or (ssl.SSLError) the key is not the certificate's; the context is as before.
    """
    certificate = settings.tls_certificate
    assert certificate is not None, "there is no context without a certificate"
    # Tried on another context first: one that refuses a key has taken the certificate already.
    for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
        each.load_cert_chain(certificate, settings.tls_key)
        if settings.tls_client_ca is not None:
            each.load_verify_locations(settings.tls_client_ca)


def grpc_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Read the certificates for gRPC, now and whenever they are renewed; None where the door speaks plain HTTP/2.

    Raises:
        OSError: a file cannot be read.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    ca = settings.tls_client_ca
    watch = FileWatch(_files(settings))

    def read() -> grpc.ServerCertificateConfiguration:
        pair = (key.read_bytes(), certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], ca.read_bytes() if ca is not None else None)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC at each handshake; None keeps what it has."""
        if not watch.has_changed():
            return None
        try:
            return read()
        except OSError as error:
            _log.error("gRPC goes on with the certificates that it has: %s", error)
            return None

    fetch: Any = renewed  # the stubs do not know that None is allowed
    return grpc.dynamic_ssl_server_credentials(read(), fetch, require_client_authentication=ca is not None)


def _files(settings: Settings) -> list[Path]:
    named = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    return [file for file in named if file is not None]
