"""The audit chain: any tampering shows, and where."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.policy.audit import AuditEntry, chain_hash, next_entry, verify_chain


def chain(length: int) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for number in range(length):
        entries.append(
            next_entry(
                entries[-1] if entries else None,
                at=1_000.5 + number,
                actor="ada",
                action="policy.put",
                reason=f"reason {number}",
                model="m",
                before=None,
                after={"revision": number, "policy": {"variants": ("a", "b")}},
            )
        )
    return entries


@pytest.mark.parametrize("length", [0, 1, 5])
def test_an_untouched_chain_verifies(length: int) -> None:
    """Also an empty one."""
    assert verify_chain(chain(length)) is None


def test_a_chain_verifies_after_a_way_through_json() -> None:
    """Stores keep JSON: a tuple comes back as a list, and the hash must not care."""
    entries = chain(3)
    assert msgspec.json.decode(msgspec.json.encode(entries), type=list[AuditEntry]) != entries
    assert verify_chain(msgspec.json.decode(msgspec.json.encode(entries), type=list[AuditEntry])) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", 0.0),
        ("actor", "eve"),
        ("action", "policy.delete"),
        ("reason", ""),
        ("model", "n"),
        ("before", {}),
        ("after", None),
        ("seq", 4),
        ("previous_hash", "0" * 64),
        ("hash", "0" * 64),
    ],
)
def test_a_changed_field_breaks_the_chain_there(field: str, value: Any) -> None:
    """Whatever the field."""
    entries = chain(5)
    entries[2] = msgspec.structs.replace(entries[2], **{field: value})
    assert verify_chain(entries) == 3


def test_a_change_with_its_hash_redone_breaks_the_next_link() -> None:
    """A forger must rewrite everything that follows."""
    entries = chain(5)
    forged = msgspec.structs.replace(entries[2], actor="eve")
    entries[2] = msgspec.structs.replace(forged, hash=chain_hash(forged))
    assert verify_chain(entries) == 4


def test_a_missing_a_doubled_and_a_swapped_entry_show() -> None:
    """By the place where the order breaks."""
    entries = chain(5)
    assert verify_chain(entries[:2] + entries[3:]) == 3
    assert verify_chain(entries[1:]) == 1
    assert verify_chain([*entries[:2], entries[1], *entries[2:]]) == 3
    assert verify_chain([entries[0], entries[2], entries[1], *entries[3:]]) == 2


def test_a_stretch_verifies_from_the_entry_before_it() -> None:
    """So that a long log is checked in pieces."""
    entries = chain(6)
    assert verify_chain(entries[3:], previous=entries[2]) is None
    assert verify_chain(entries[4:], previous=entries[2]) == 4
