"""The last good policies on disk, so that a router can start while its store is away.

Blocking file access: call from a thread, or before serving begins.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from router.adapters.files.sealed_file import Unreadable, read_sealed, write_sealed
from router.adapters.policy_json import UnreadablePolicy, decode_stored, encode_stored
from router.ports import PolicySnapshot


class ReadSnapshot(NamedTuple):
    """What was found on disk: a snapshot, or None and why."""

    snapshot: PolicySnapshot | None
    reason: str


class _Content(msgspec.Struct):
    epoch: int
    policies: dict[str, msgspec.Raw]


_decoder = msgspec.json.Decoder(_Content)


def write_policy_snapshot(path: Path, snapshot: PolicySnapshot) -> bool:
    """Put a snapshot in place of an older one; tell whether it was written.

    The routers of a node share the file, so one that is behind leaves a newer snapshot alone. Raises `OSError`, e.g.
    when the disk is full; the old file stays.
    """
    there = read_policy_snapshot(path).snapshot
    if there is not None and there.epoch >= snapshot.epoch:
        return False
    policies = {model: msgspec.Raw(encode_stored(stored)) for model, stored in snapshot.policies.items()}
    write_sealed(path, msgspec.json.encode(_Content(snapshot.epoch, policies)))
    return True


def read_policy_snapshot(path: Path) -> ReadSnapshot:
    """Read the snapshot; a missing or damaged file is no error but a reason, since the store is asked first anyway."""
    try:
        decoded = _decoder.decode(read_sealed(path))
        policies = {model: decode_stored(bytes(raw), model=model) for model, raw in decoded.policies.items()}
    except Unreadable as error:
        return ReadSnapshot(None, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, UnreadablePolicy) as error:
        return ReadSnapshot(None, f"{path}: {error}")
    return ReadSnapshot(PolicySnapshot(decoded.epoch, policies), "")
