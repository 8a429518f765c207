"""A server's certificates read anew, without a socket."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec
import pytest

from router.gateway.http.tls import read_certificates
from router.settings import Settings
from tests.certificates import Certificates, make_certificates, renew_certificates


def shake_hands(server: ssl.SSLContext, authority: Path) -> None:
    """Connect a client that trusts one authority; raises as the client does."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cafile=str(authority))
    client_end = trusting.wrap_bio(to_client, to_server, server_hostname="localhost")
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_end, server_end]
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def context_of(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    read_certificates(settings, context)
    return context


@pytest.mark.parametrize("stale", ["key", "certificate"])
def test_a_key_that_is_not_the_certificates_changes_nothing(tmp_path: Path, files: Certificates, stale: str) -> None:
    """Clients are served with what was there before, until both files have been renewed."""
    settings = Settings(state_dir=tmp_path, tls_certificate=files.certificate, tls_key=files.key)
    context = context_of(settings)
    file = files.key if stale == "key" else files.certificate
    before = file.read_bytes()
    authority = renew_certificates(files)
    renewed = file.read_bytes()
    file.write_bytes(before)

    with pytest.raises(ssl.SSLError, match=r"(?i)mismatch"):
        read_certificates(settings, context)
    shake_hands(context, files.authority)

    file.write_bytes(renewed)
    read_certificates(settings, context)
    shake_hands(context, authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context, files.authority)


def test_an_authority_that_cannot_be_read_changes_nothing(tmp_path: Path, files: Certificates) -> None:
    """Not even the certificate beside it, though that one is fine."""
    named = Settings(state_dir=tmp_path, tls_certificate=files.certificate, tls_key=files.key)
    context = context_of(named)
    renew_certificates(files)

    with pytest.raises(OSError, match="No such file"):
        read_certificates(msgspec.structs.replace(named, tls_client_ca=tmp_path / "nowhere.pem"), context)

    shake_hands(context, files.authority)
