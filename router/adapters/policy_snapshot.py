"""The last good policies on disk, so that a router can start while its store is away.

Blocking file access: call from a thread, or before serving begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from router.adapters.policy_json import UnreadablePolicy, decode_stored, encode_stored
from router.ports import PolicySnapshot


class ReadSnapshot(NamedTuple):
    """What was found on disk: a snapshot, or None and why."""

    snapshot: PolicySnapshot | None
    reason: str


class _File(msgspec.Struct):
    sha256: str
    """Of `content`, byte by byte as it stands in the file."""
    content: msgspec.Raw


class _Content(msgspec.Struct):
    epoch: int
    policies: dict[str, msgspec.Raw]


_file_decoder = msgspec.json.Decoder(_File)
_content_decoder = msgspec.json.Decoder(_Content)


def write_policy_snapshot(path: Path, snapshot: PolicySnapshot) -> bool:
    """Put a snapshot in place of an older one; tell whether it was written.

    Durable and all-or-nothing: a crash leaves the old file or the new. The routers of a node share the file, so one
    that is behind leaves a newer snapshot alone. Raises `OSError`, e.g. when the disk is full; the old file stays.
    """
    there = read_policy_snapshot(path).snapshot
    if there is not None and there.epoch >= snapshot.epoch:
        return False
    policies = {model: msgspec.Raw(encode_stored(stored)) for model, stored in snapshot.policies.items()}
    content = msgspec.json.encode(_Content(snapshot.epoch, policies))
    encoded = msgspec.json.encode(_File(hashlib.sha256(content).hexdigest(), msgspec.Raw(content)))
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace_file(path, encoded)
    return True


def read_policy_snapshot(path: Path) -> ReadSnapshot:
    """Read the snapshot; a missing or damaged file is no error but a reason, since the store is asked first anyway."""
    try:
        file = _file_decoder.decode(path.read_bytes())
        content = bytes(file.content)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            return ReadSnapshot(None, f"{path}: the checksum does not match; the file is damaged")
        decoded = _content_decoder.decode(content)
        policies = {model: decode_stored(bytes(raw), model=model) for model, raw in decoded.policies.items()}
    except FileNotFoundError:
        return ReadSnapshot(None, f"{path}: there is no snapshot yet")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, UnreadablePolicy) as error:
        return ReadSnapshot(None, f"{path}: {error}")
    return ReadSnapshot(PolicySnapshot(decoded.epoch, policies), "")


def _replace_file(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    # The rename itself is durable only once its folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
