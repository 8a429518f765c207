"""The audit log: a chain of entries in which nothing can be changed unseen. Pure.

Each entry's hash covers the entry and the hash before it, so altering, dropping or inserting one breaks every hash that
follows. What a chain cannot show by itself is a missing tail: compare the last hash with one noted elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

#: What stands in for the hash before the first entry.
GENESIS_HASH = "0" * 64


class AuditEntry(msgspec.Struct, frozen=True):
    """One administrative act."""

    seq: int
    """1 for the first entry, without gaps."""
    at: float
    """Unix seconds."""
    actor: str
    action: str
    """What was done, e.g. `policy.put`, `policy.delete`."""
    reason: str
    model: str
    before: Any
    """What stood before, in JSON types; None when there was nothing. For a policy: `{"revision", "policy"}`."""
    after: Any
    """What stands after it, likewise."""
    previous_hash: str
    hash: str
    """`chain_hash` of the entry: hexadecimal SHA-256."""


def chain_hash(entry: AuditEntry) -> str:
    """Hash an entry: SHA-256 over its fields but `hash`, as JSON with sorted keys and no spaces."""
    fields = msgspec.structs.asdict(entry)
    del fields["hash"]
    return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


def next_entry(
    previous: AuditEntry | None,
    *,
    at: float,
    actor: str,
    action: str,
    reason: str,
    model: str,
    before: Any,
    after: Any,
) -> AuditEntry:
    """Make the entry that follows `previous`, or the first one when that is None."""
    entry = AuditEntry(
        seq=previous.seq + 1 if previous else 1,
        at=at,
        actor=actor,
        action=action,
        reason=reason,
        model=model,
        before=before,
        after=after,
        previous_hash=previous.hash if previous else GENESIS_HASH,
        hash="",
    )
    return msgspec.structs.replace(entry, hash=chain_hash(entry))


def verify_chain(entries: Iterable[AuditEntry], *, previous: AuditEntry | None = None) -> int | None:
    """Check a stretch of the log that follows `previous` (None: from the start); return the first broken seq, or None.

    Broken is the first place where the number, the link to the entry before or the entry's own hash is not as it must.
    """
    seq = previous.seq if previous else 0
    link = previous.hash if previous else GENESIS_HASH
    for entry in entries:
        seq += 1
        if entry.seq != seq or entry.previous_hash != link or entry.hash != chain_hash(entry):
            return seq
        link = entry.hash
    return None
