"""Certificates of an authority of our own, valid for this machine's loopback."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_HOUR = dt.timedelta(hours=1)


class Certificates(NamedTuple):
    """PEM files."""

    authority: Path
    certificate: Path
    """The server's."""
    key: Path
    client_certificate: Path
    client_key: Path


def make_certificates(folder: Path) -> Certificates:
    """Write an authority and what it signed for one server and one client."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _sign("authority", authority_key, "authority", authority_key, is_authority=True)
    files = Certificates(*(folder / f"{name}.pem" for name in Certificates._fields))
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for name, certificate, key in (
        ("server", files.certificate, files.key),
        ("client", files.client_certificate, files.client_key),
    ):
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _sign(name, own, "authority", authority_key)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return files


def renew_certificates(files: Certificates) -> Path:
    """Replace a server's certificate and key by those of another authority, whose own file is returned."""
    folder = files.authority.parent / "renewed"
    folder.mkdir()
    renewed = make_certificates(folder)
    renewed.certificate.replace(files.certificate)
    renewed.key.replace(files.key)
    return renewed.authority


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _HOUR)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
