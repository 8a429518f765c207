"""Only the registry itself can have the gateway look at it, and each of its messages only once."""

from __future__ import annotations

from mlflow.webhooks.constants import (
    WEBHOOK_DELIVERY_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_TIMESTAMP_HEADER,
)
from mlflow.webhooks.delivery import _generate_hmac_signature

from router.control.registry_webhook import MAX_AGE_S, Signatures

SECRET, NOW, BODY = b"secret", 1_700_000_000.0, b'{"entity":"model_version_alias"}'


def signed(
    *, delivery: str = "d1", stamp: str = str(int(NOW)), secret: bytes = SECRET, body: bytes = BODY
) -> dict[str, str]:
    """Sign as MLflow does: with its own code and under its own names."""
    headers = {
        WEBHOOK_DELIVERY_ID_HEADER: delivery,
        WEBHOOK_TIMESTAMP_HEADER: stamp,
        WEBHOOK_SIGNATURE_HEADER: _generate_hmac_signature(secret.decode(), delivery, stamp, body.decode()),
    }
    return {name.lower(): value for name, value in headers.items()}


def test_a_signed_message_is_accepted_once() -> None:
    """A replay is not."""
    signatures = Signatures(SECRET, lambda: NOW)

    assert signatures.accept(signed(), BODY)
    assert not signatures.accept(signed(), BODY)
    assert signatures.accept(signed(delivery="d2"), BODY)


def test_anything_else_is_refused() -> None:
    """Another secret, another body, an old message, no headers, headers that are not what they should be."""
    accept = Signatures(SECRET, lambda: NOW).accept

    assert not accept(signed(secret=b"guess"), BODY)
    assert not accept(signed(), BODY + b" ")
    assert not accept(signed(stamp=str(int(NOW - MAX_AGE_S - 1))), BODY)
    assert not accept(signed(stamp="soon"), BODY)
    assert not accept(signed(stamp="²"), BODY)
    assert not accept({}, BODY)
    assert not accept(signed() | {"x-mlflow-signature": "v1,ü"}, BODY)
