"""Decides which versions become guests, and tries those that have not proven themselves yet.

All calls block; make them in threads.
"""

from __future__ import annotations

from typing import Final

from serving.deployment.hosting.host_files import Guest
from serving.deployment.hosting.sharing import SharingRules, why_own
from serving.deployment.hosting.validation_cache import Proof, ValidationCache
from serving.deployment.spec import VersionSpec
from serving.protocol.errors import invalid
from serving.registry.cache import ArtifactCache, CachedVersion
from serving.registry.finding import refusal
from serving.registry.isolated_load import try_version
from serving.registry.node_memory import node_room
from serving.registry.options import parse_options

#: Far above what a small model takes to load and answer; others wait behind it.
TRIAL_TIMEOUT_S: Final = 60.0


class Candidates:
    """Looks at versions whose files are in the cache."""

    def __init__(self, cache: ArtifactCache, proofs: ValidationCache, rules: SharingRules) -> None:
        self._cache = cache
        self._proofs = proofs
        self._rules = rules

    def why_own(self, spec: VersionSpec) -> str | None:
        """Say why a version has a process of its own; None when it is to be a guest."""
        cached = self._cache.remembered(spec.model, spec.version)
        if cached is None:
            return "its files are not here"
        return self.isolation(spec.model, spec.version) or why_own(
            parse_options(spec.tags), self._cache.size_bytes(cached), self._rules
        )

    def examine(self, spec: VersionSpec) -> Guest:
        """Make a guest of a version that may be one; one that was not tried yet, or with other tags, is tried now.

        Raises:
            ServingError: INVALID, the trial has failed; says which check, or how the child died.
        """
        cached = self._cache.remembered(spec.model, spec.version)
        assert cached is not None, "a version whose files are not here has a process of its own"
        proof = self._proofs.find(spec.model, spec.version, cached.digest)
        if proof is None or proof.tags != spec.tags:
            proof = self._try(spec, cached)
        return Guest(spec, self._cache.size_bytes(cached), proof.signature)

    def isolation(self, model: str, version: int) -> str:
        """Say why a version that might share is kept apart; empty when it is not."""
        cached = self._cache.remembered(model, version)
        proof = self._proofs.find(model, version, cached.digest) if cached else None
        return proof.isolated if proof else ""

    def isolate(self, model: str, version: int, reason: str) -> None:
        """Never make a guest of a version again."""
        self._proofs.isolate(model, version, reason)

    def _try(self, spec: VersionSpec, cached: CachedVersion) -> Proof:
        folder = self._cache.open(cached)
        if folder is None:
            raise invalid(
                f"{spec.model} version {spec.version}: its files in the cache are not what they were; try again"
            )
        try:
            trial = try_version(
                folder, spec.tags, spec.reach, limit_bytes=node_room().free_bytes, timeout_s=TRIAL_TIMEOUT_S
            )
        finally:
            self._cache.release(folder)
        if reason := refusal(trial.findings):
            raise invalid(reason)
        assert trial.signature is not None, "a trial that is not refused has loaded the model"
        proof = Proof(cached.digest, dict(spec.tags), trial.signature)
        self._proofs.write(spec.model, spec.version, proof)
        return proof
