"""Stored policies as JSON, the form in which Redis and the snapshot on disk keep them. No I/O.

A document is checked again when read: it may have been written by another release, or by hand.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.policy.document import parse_policy
from router.ports import StoredPolicy
from serving.protocol.errors import ServingError


class UnreadablePolicy(Exception):
    """A stored policy that this release does not understand: says whose and why."""


class _Envelope(msgspec.Struct):
    policy: Any
    revision: int
    actor: str
    reason: str
    at: float
    restores: int = 0


class _Numbered(msgspec.Struct):
    revision: int


_decoder = msgspec.json.Decoder(_Envelope)
_number_decoder = msgspec.json.Decoder(_Numbered)


def encode_stored(stored: StoredPolicy) -> bytes:
    """Write a stored policy as JSON."""
    return msgspec.json.encode(stored)


def revision_of(encoded: bytes | str, *, model: str) -> int:
    """Read the number of a stored policy, whatever the policy says; raises `UnreadablePolicy`."""
    try:
        return _number_decoder.decode(encoded).revision
    except msgspec.DecodeError as error:
        raise UnreadablePolicy(f"policy of {model!r}: {error}") from error


def decode_stored(encoded: bytes | str, *, model: str) -> StoredPolicy:
    """Read the policy of `model` back; raises `UnreadablePolicy`."""
    try:
        envelope = _decoder.decode(encoded)
        policy = parse_policy(envelope.policy)
    except (msgspec.DecodeError, ServingError) as error:
        raise UnreadablePolicy(f"policy of {model!r}: {error}") from error
    if policy.model != model:
        raise UnreadablePolicy(f"policy of {model!r}: is for model {policy.model!r}")
    return StoredPolicy(policy, envelope.revision, envelope.actor, envelope.reason, envelope.at, envelope.restores)
