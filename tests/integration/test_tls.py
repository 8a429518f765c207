"""TLS and mutual TLS at both doors, by settings alone."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.certificates import Certificates, make_certificates, renew_certificates
from tests.data_plane import DataPlane, running_data_plane

pytestmark = pytest.mark.asyncio


async def live_over_http(plane: DataPlane, context: ssl.SSLContext) -> int:
    async with httpx.AsyncClient(verify=context) as client:
        address = f"https://127.0.0.1:{plane.settings.http_port}/v2/health/live"
        return (await client.get(address)).status_code


async def live_over_grpc(plane: DataPlane, credentials: grpc.ChannelCredentials) -> bytes:
    async with grpc.aio.secure_channel(plane.grpc, credentials) as channel:
        call: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        return bytes(await call(b"", timeout=5))


def client_credentials(files: Certificates, *, named: bool) -> grpc.ChannelCredentials:
    root = files.authority.read_bytes()
    if not named:
        return grpc.ssl_channel_credentials(root)
    return grpc.ssl_channel_credentials(root, files.client_key.read_bytes(), files.client_certificate.read_bytes())


async def test_both_doors_speak_tls(valkey_socket: Path, tmp_path: Path) -> None:
    """With a certificate they speak nothing else."""
    files = make_certificates(tmp_path)
    settings: dict[str, Any] = {"tls_certificate": files.certificate, "tls_key": files.key}
    async with running_data_plane(f"unix://{valkey_socket}", **settings) as plane:
        assert await live_over_http(plane, ssl.create_default_context(cafile=str(files.authority))) == 200
        assert await live_over_grpc(plane, client_credentials(files, named=False)) == b"\x08\x01"
        with pytest.raises(httpx.TransportError):
            await plane.client.get("/v2/health/live")


async def test_a_client_must_show_its_certificate_where_an_authority_is_named(
    valkey_socket: Path, tmp_path: Path
) -> None:
    """Mutual TLS: without one the handshake fails, with one the client is served."""
    files = make_certificates(tmp_path)
    settings: dict[str, Any] = {
        "tls_certificate": files.certificate,
        "tls_key": files.key,
        "tls_client_ca": files.authority,
    }
    async with running_data_plane(f"unix://{valkey_socket}", **settings) as plane:
        context = ssl.create_default_context(cafile=str(files.authority))
        with pytest.raises(httpx.TransportError):
            await live_over_http(plane, context)
        with pytest.raises(grpc.aio.AioRpcError):
            await live_over_grpc(plane, client_credentials(files, named=False))

        context.load_cert_chain(files.client_certificate, files.client_key)
        assert await live_over_http(plane, context) == 200
        assert await live_over_grpc(plane, client_credentials(files, named=True)) == b"\x08\x01"


async def test_renewed_certificates_are_met_by_new_connections(valkey_socket: Path, tmp_path: Path) -> None:
    """Within seconds and without a restart, at both doors."""
    files = make_certificates(tmp_path)
    settings: dict[str, Any] = {"tls_certificate": files.certificate, "tls_key": files.key}
    async with running_data_plane(f"unix://{valkey_socket}", **settings) as plane:
        authority = renew_certificates(files)
        context = ssl.create_default_context(cafile=str(authority))
        credentials = grpc.ssl_channel_credentials(authority.read_bytes())

        async with asyncio.timeout(30):
            while True:
                try:
                    assert await live_over_http(plane, context) == 200
                    assert await live_over_grpc(plane, credentials) == b"\x08\x01"
                    break
                except (httpx.TransportError, grpc.aio.AioRpcError):
                    await asyncio.sleep(0.1)
