"""The registry as the gateway uses it: versions by name, with their files verified on this machine.

Calls block: they are made in threads. A version that has been fetched once is served from the cache while the registry
is away, across restarts too.
"""

from __future__ import annotations

import difflib
import fcntl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from serving.backends.outgoing import Reach
from serving.protocol.errors import ErrorKind, ServingError, invalid, not_found
from serving.registry.artifact import MLMODEL, Artifact, ModelInfo, VersionInfo, check_name
from serving.registry.cache import DEFAULT_MAX_BYTES, ArtifactCache
from serving.registry.fetching import Fetcher, recorded_tags
from serving.registry.golden_recording import Recorder, record_here, write_golden
from serving.registry.mlflow import MlflowStore, RegistryUnavailable
from serving.registry.mlmodel import render_mlmodel
from serving.registry.model_files import place_model
from serving.registry.options import PREFIX, RECORDED_TAGS, parse_options
from serving.registry.source import SourcePolicy


class Registry:
    """Versions of models: found, listed, registered, fetched."""

    def __init__(self, store: MlflowStore, cache: ArtifactCache, reach: Reach, recorder: Recorder) -> None:
        self._store = store
        self._cache = cache
        self.reach: Final = reach
        """How far a version's backend may reach."""
        self._recorder = recorder
        self._fetcher = Fetcher(store, cache, reach, recorder)

    @classmethod
    def open(
        cls,
        uri: str | None,
        *,
        state_dir: Path,
        allowed_folders: Sequence[Path] = (),
        reach: Reach = Reach(),  # noqa: B008 - a constant
        cache_max_bytes: int = DEFAULT_MAX_BYTES,
        recorder: Recorder = record_here,
    ) -> Registry:
        """Open a registry.

        Args:
            uri: `http(s)://` or `sqlite:///`; None for the one embedded in the state directory.
            state_dir: holds the embedded registry (`registry/`) and the cache (`cache/`).
            allowed_folders: where else than there versions may have their files, when they are local.
            reach: how far a backend may reach while it records a golden example.
            cache_max_bytes: bound of the cache.
            recorder: runs models on their example; `record_apart` where a model must not end this process.
        """
        folder = state_dir.resolve() / "registry"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        address = uri or f"sqlite:///{folder / 'mlflow.db'}"
        artifact_root = folder / "artifacts"
        sources = SourcePolicy(address, [artifact_root, *allowed_folders])
        if not address.startswith("sqlite:"):
            store = MlflowStore(address, sources, None)
        else:
            with (folder / "lock").open("ab") as lock:  # two processes that make the tables at once spoil them
                fcntl.flock(lock, fcntl.LOCK_EX)
                store = MlflowStore(address, sources, artifact_root)
                store.prepare()
        return cls(store, ArtifactCache(state_dir / "cache", cache_max_bytes), reach, recorder)

    @property
    def uri(self) -> str:
        """What a training script passes to `mlflow.set_tracking_uri`."""
        return self._store.uri

    def experiment(self, name: str) -> str:
        """Return the id of an experiment for training runs, whose models the gateway may then fetch."""
        return self._store.experiment(name)

    def list_models(self) -> tuple[ModelInfo, ...]:
        """List all models by name."""
        return self._store.models()

    def list_versions(self, model: str) -> tuple[VersionInfo, ...]:
        """List the versions of a model, oldest first; empty for a model that is not there."""
        return self._store.versions(check_name(model))

    def resolve(self, model: str, reference: int | str) -> VersionInfo:
        """Find a version by number or alias (`champion` or `@champion`), and pin it thereby.

        While the registry is away, versions in the cache are found by number.

        Raises:
            ServingError: NOT_FOUND that says what there is.
            RegistryUnavailable: the registry is away and the cache does not know.
        """
        check_name(model)
        wanted = int(reference) if str(reference).isdecimal() else str(reference).removeprefix("@")
        try:
            return self._store.version(model, wanted)
        except RegistryUnavailable:
            cached = self._cache.remembered(model, wanted) if isinstance(wanted, int) else None
            if cached is None:
                raise
            return cached.info
        except ServingError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            raise self._unknown(model, wanted) from error

    def fetch(self, info: VersionInfo) -> Artifact:
        """Bring a version's files to this machine, verified, and keep them from eviction until `release`.

        A version without a golden example gets one recorded, marked `self-recorded`.

        Raises:
            ServingError: INVALID or TOO_LARGE, the files are not what was registered, or not acceptable; NOT_FOUND,
                they are gone.
            RegistryUnavailable: the registry is away and the cache does not have the version.
        """
        return self._fetcher.fetch(info)

    def model_bytes(self, model: str, version: int) -> int:
        """Say how large a version's model files are, fetched or not; 0 for one that lives on another server.

        Raises:
            ServingError: NOT_FOUND, there is no such version, or its files are gone.
            RegistryUnavailable: the registry is away and the cache does not know.
        """
        info = self.resolve(model, version)
        cached = self._cache.remembered(model, version)
        known = cached.lineage.get("bytes") if cached and cached.info.run_id == info.run_id else None
        return known if isinstance(known, int) else self._store.model_bytes(info)

    def release(self, artifact: Artifact) -> None:
        """Let a fetched version's files be evicted; once for each `fetch`."""
        self._cache.release(artifact.dir)

    def register(
        self,
        name: str,
        onnx: bytes | Path | None,
        example: bytes | None = None,
        tags: Mapping[str, str] | None = None,
        alias: str | None = None,
    ) -> int:
        """Add a version with its golden example and its digest; return its number.

        Args:
            name: the model, made if need be.
            onnx: the model file; None for a backend that needs none. External data is taken along from beside a path.
            example: a V2 inference request; None generates inputs: a weaker check.
            tags: the version's tags, `shepherd.*` options among them.
            alias: a name to point to the new version.

        Raises:
            ServingError: INVALID that names the fault: name, tag, model or example. Nothing is registered then.
            RegistryUnavailable: the registry is away.
        """
        check_name(name)
        own_tags = dict(tags or {})
        for tag in RECORDED_TAGS & own_tags.keys():
            raise invalid(f"tag '{tag}' is written by the registry itself")
        parse_options(own_tags)
        if alias is not None:
            check_name(alias, "alias")
        with self._cache.staging_folder() as folder:
            files = place_model(folder, onnx)
            recording = self._recorder(folder, own_tags, example, self.reach)
            write_golden(folder, recording.golden)
            run_id = self._store.start_run()
            created_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
            has_onnx = files.onnx is not None
            card = render_mlmodel(recording.signature, run_id=run_id, created_at=created_at, has_onnx=has_onnx)
            (folder / MLMODEL).write_text(card, encoding="utf-8")
            own_tags |= recorded_tags(folder, recording.golden)
            version = self._store.create_version(name, run_id, folder, own_tags)
        if alias is not None:
            self._store.set_alias(name, alias, version)
        return version

    def record_golden(self, model: str, version: int, example: bytes | None = None) -> VersionInfo:
        """Give a version that was logged by `mlflow.onnx.log_model` its golden example and digest.

        To be called by the training script right after it has logged the model; replaces an example that is there.
        The files are added to the version's own, as `shepherd/golden_request.json` and `shepherd/golden_response.json`.

        Args:
            model: the registered model.
            version: its version.
            example: a V2 inference request; None takes the `input_example` that was logged, or generates inputs.
        """
        self._fetcher.attach_golden(self.resolve(model, version), example)
        return self.resolve(model, version)

    def attach_profile(self, model: str, version: int, document: bytes) -> VersionInfo:
        """Add a reference profile to a version, as `extra_files/reference_profile.json`, with its digest as a tag.

        Raises:
            ServingError: INVALID, the version has another one; NOT_FOUND.
            RegistryUnavailable: the registry is away.
        """
        self._fetcher.attach_profile(self.resolve(model, version), document)
        return self.resolve(model, version)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias point to a version."""
        self.resolve(model, version)
        self._store.set_alias(model, check_name(alias, "alias"), version)

    def write_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a version, e.g. what became of it; `shepherd.*` tags are options and stay as registered.

        Raises:
            ServingError: INVALID, a tag is an option; NOT_FOUND.
        """
        options = [tag for tag in tags if tag.startswith(PREFIX)]
        if options:
            raise invalid(f"tag '{options[0]}' is an option of the version; register another version to change it")
        self.resolve(model, version)
        self._store.set_tags(model, version, tags)

    def close(self) -> None:
        """Let go of all fetched files."""
        self._cache.close()

    def _unknown(self, model: str, wanted: int | str) -> ServingError:
        """Say what there is instead of a version that is not."""
        versions = self._store.versions(model)
        if not versions:
            names = [known.name for known in self._store.models()]
            close = difflib.get_close_matches(model, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "register it: `shepherd model register FILE.onnx --name`"
            return not_found(f"model '{model}' is not in the registry; {hint}")
        if isinstance(wanted, int):
            numbers = ", ".join(str(version.version) for version in versions)
            return not_found(f"model '{model}' has no version {wanted}; it has {numbers}")
        aliases = sorted(alias for version in versions for alias in version.aliases)
        return not_found(f"model '{model}' has no alias '{wanted}'; it has {', '.join(aliases) or 'none'}")
