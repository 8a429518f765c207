"""Which versions have proven on this machine that they load and answer: a child process has tried them.

A version that has not is never let into a shared host, where a crash at load would take its neighbours. What is proven
is kept beside the cache, so that a gateway that starts again need not try hundreds of models.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from serving.atomic_file import replace_file
from serving.protocol.messages import Signature
from serving.registry.artifact import check_name


class Proof(msgspec.Struct, frozen=True):
    """What a trial has shown of a version's files."""

    digest: str
    """Of the files, see `serving.registry.cache`; others prove nothing."""
    tags: dict[str, str]
    """Of the version when it was tried: others may ask for more."""
    signature: Signature
    isolated: str = ""
    """Why the version has a process of its own although it may share: it has taken a host down. Empty: it has not."""


class ValidationCache:
    """One small file for each version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, model: str, version: int, digest: str) -> Proof | None:
        """Read what is known of a version; None when it has to be tried."""
        try:
            proof = msgspec.json.decode(self._path(model, version).read_bytes(), type=Proof)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return proof if proof.digest == digest else None

    def write(self, model: str, version: int, proof: Proof) -> None:
        """Keep it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        replace_file(self._path(model, version), msgspec.json.encode(proof))

    def isolate(self, model: str, version: int, reason: str) -> None:
        """Write down that a version is to have a process of its own from now on."""
        proof = msgspec.json.decode(self._path(model, version).read_bytes(), type=Proof)
        self.write(model, version, msgspec.structs.replace(proof, isolated=reason))

    def _path(self, model: str, version: int) -> Path:
        return self._folder / f"{check_name(model)}@{version}.json"
