"""The last known keys on disk (digests, no secrets), so that a router that starts while its store is away still checks.

Blocking file access: call from a thread, or before serving begins.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from router.access.key import KeySnapshot
from router.adapters.files.sealed_file import Unreadable, read_sealed, write_sealed

_decoder = msgspec.json.Decoder(KeySnapshot)


class ReadKeys(NamedTuple):
    """What was found on disk: keys, or None and why."""

    snapshot: KeySnapshot | None
    reason: str


def write_key_snapshot(path: Path, snapshot: KeySnapshot) -> bool:
    """Put the keys in place of older ones; tell whether they were written.

    The routers of a node share the file, so one that is behind leaves a newer snapshot alone. Raises `OSError`.
    """
    there = read_key_snapshot(path).snapshot
    if there is not None and there.epoch >= snapshot.epoch:
        return False
    write_sealed(path, msgspec.json.encode(snapshot))
    return True


def read_key_snapshot(path: Path) -> ReadKeys:
    """Read the keys; a missing or damaged file is no error but a reason, since the store is asked first anyway."""
    try:
        return ReadKeys(_decoder.decode(read_sealed(path)), "")
    except Unreadable as error:
        return ReadKeys(None, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return ReadKeys(None, f"{path}: {error}")
