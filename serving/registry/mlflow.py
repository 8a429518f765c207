"""Speaks to the MLflow model registry: the one module that imports mlflow.

Only what every MLflow from 2.x on offers is used: runs, run artifacts, versions, tags, aliases. Files are listed first
and fetched one by one, so that nothing which is not wanted is ever downloaded; nothing fetched is ever executed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

# mlflow reads these once, when it is imported; an operator's own settings win.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # noqa: TID251
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # noqa: TID251
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # noqa: TID251
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # noqa: TID251
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # noqa: TID251

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.exc import SQLAlchemyError

from serving.protocol.errors import invalid, not_found
from serving.registry.artifact import ListedFile, ModelInfo, VersionInfo, is_model_file, wanted_files
from serving.registry.source import SourcePolicy, without_credentials

EXPERIMENT: Final = "model-shepherd"
"""The MLflow experiment that holds the runs of what we register."""

_MODEL_FOLDER: Final = "model"
_MAX_DEPTH: Final = 8

_CAUSE: Final = re.compile(r"\(Caused by .*?: (.+?)[\"']?\)+$")
"""How urllib3 words what went wrong after it gave up."""

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it announces each start of an embedded store
logging.getLogger("alembic").setLevel(logging.WARNING)


class RegistryUnavailable(Exception):
    """The registry cannot be reached or refuses us; the message says which, why and what to do."""

    def __init__(self, uri: str, reason: str) -> None:
        """Name the registry without its credentials, which must not reach a log."""
        super().__init__(uri, reason)
        self.uri = uri
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the registry {self.uri} is unavailable: {self.reason}."
            " Check that it runs and that `--registry` is right; MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD,"
            " hold its credentials. Versions already fetched go on being served"
        )


class MlflowStore:
    """Versions and their files in one MLflow registry."""

    def __init__(self, uri: str, sources: SourcePolicy, artifact_root: Path | None) -> None:
        """Connect.

        Args:
            uri: `sqlite:///path` or `http(s)://...`.
            sources: where version's files may lie.
            artifact_root: where an embedded registry puts files; None leaves it to the server.
        """
        self.uri = uri
        self._sources = sources
        self._artifact_root = artifact_root
        with self._reaching():
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def prepare(self) -> None:
        """Have an embedded registry make its tables, which its first use does."""
        with self._reaching():
            self._client.search_registered_models(max_results=1)

    def version(self, model: str, reference: int | str) -> VersionInfo:
        """Find a version by its number or by an alias.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._reaching():
            if isinstance(reference, int):
                found = self._client.get_model_version(model, str(reference))
            else:
                found = self._client.get_model_version_by_alias(model, reference)
        return _info(found, found.aliases)

    def models(self) -> tuple[ModelInfo, ...]:
        """List all models by name."""
        found: list[Any] = []
        with self._reaching():
            page = self._client.search_registered_models()
            found += page
            while page.token:
                page = self._client.search_registered_models(page_token=page.token)
                found += page
        return tuple(
            ModelInfo(
                name=model.name,
                latest_version=max((int(version.version) for version in model.latest_versions or ()), default=0),
                aliases={alias: int(version) for alias, version in model.aliases.items()},
            )
            for model in sorted(found, key=lambda model: str(model.name))
        )

    def versions(self, model: str) -> tuple[VersionInfo, ...]:
        """List the versions of a model, oldest first; empty when there is no such model."""
        found: list[ModelVersion] = []
        aliases: dict[int, list[str]] = defaultdict(list)
        query = f"name='{model}'"
        with self._reaching():
            page = self._client.search_model_versions(query)
            found += page
            while page.token:
                page = self._client.search_model_versions(query, page_token=page.token)
                found += page
            if found:  # a search leaves out the aliases
                for alias, number in self._client.get_registered_model(model).aliases.items():
                    aliases[int(number)].append(alias)
        listed = (_info(version, aliases[int(version.version)]) for version in found)
        return tuple(sorted(listed, key=lambda info: info.version))

    def start_run(self) -> str:
        """Open a run for a registration; return its id."""
        with self._reaching():
            run = self._client.create_run(self.experiment(EXPERIMENT), run_name="register")
            return str(run.info.run_id)

    def create_version(self, model: str, run_id: str, folder: Path, tags: Mapping[str, str]) -> int:
        """Upload a folder as the files of a new version of a model, which is made if need be; return its number."""
        status = "FAILED"
        try:
            with self._reaching():
                self._client.log_artifacts(run_id, str(folder), _MODEL_FOLDER)
                self._ensure_model(model)
                source = f"{self._client.get_run(run_id).info.artifact_uri}/{_MODEL_FOLDER}"
                version = self._client.create_model_version(model, source, run_id=run_id, tags=dict(tags))
                status = "FINISHED"
                return int(version.version)
        finally:
            with contextlib.suppress(Exception):  # a run's status is a courtesy
                self._client.set_terminated(run_id, status)

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Write tags of a version."""
        with self._reaching():
            for key, value in tags.items():
                self._client.set_model_version_tag(model, str(version), key, value)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias point to a version."""
        with self._reaching():
            self._client.set_registered_model_alias(model, alias, str(version))

    def download(self, info: VersionInfo, folder: Path) -> None:
        """Fetch a version's wanted files into an empty folder.

        Raises:
            ServingError: INVALID, the files lie where they may not, or a path leads out of the folder; TOO_LARGE;
                NOT_FOUND, the files are gone.
        """
        repository = self._repository(info)
        for file in wanted_files(self._listing(info, repository)):
            with self._reaching():
                repository.download_artifacts(file.path, str(folder))

    def model_bytes(self, info: VersionInfo) -> int:
        """Add up the model files of a version without fetching any; raises what `download` does."""
        listing = self._listing(info, self._repository(info))
        return sum(file.size_bytes for file in wanted_files(listing) if is_model_file(file.path))

    def _listing(self, info: VersionInfo, repository: Any) -> list[ListedFile]:
        with self._reaching():
            listing = list(_list_files(repository, None, _MAX_DEPTH))
        if not listing:
            raise not_found(f"the files of {info.model} version {info.version} are gone from {info.source}")
        return listing

    def upload(self, info: VersionInfo, folder: Path) -> None:
        """Add a folder's files to those of a version, at the same relative paths."""
        repository = self._repository(info)
        with self._reaching():
            repository.log_artifacts(str(folder))

    def lineage(self, info: VersionInfo) -> dict[str, Any]:
        """Say where a version comes from, as far as its run tells; empty for a version without a run."""
        if not info.run_id:
            return {}
        with self._reaching():
            run = self._client.get_run(info.run_id)
        datasets = getattr(run.inputs, "dataset_inputs", None) or ()
        return {
            "git_commit": run.data.tags.get("mlflow.source.git.commit", ""),
            "params": dict(run.data.params),
            "datasets": [
                {
                    "name": entry.dataset.name,
                    "digest": entry.dataset.digest,
                    "context": next((tag.value for tag in entry.tags if tag.key == "mlflow.data.context"), ""),
                }
                for entry in datasets
            ],
        }

    def experiment(self, name: str) -> str:
        """Return the id of an experiment whose artifacts lie where the gateway may read them; make it if need be."""
        with self._reaching():
            found = self._client.get_experiment_by_name(name)
            if found:
                return str(found.experiment_id)
            location = self._artifact_root.as_uri() if self._artifact_root else None
            return str(self._client.create_experiment(name, artifact_location=location))

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _repository(self, info: VersionInfo) -> Any:
        """Open the store that holds a version's files, once its address is found acceptable."""
        with self._reaching():
            address = self._client.get_model_version_download_uri(info.model, str(info.version))
        return get_artifact_repository(self._sources.check(address), tracking_uri=self.uri, registry_uri=self.uri)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the failures of a call into ours."""
        try:
            yield
        except MlflowException as error:
            raise self._translated(error) from error
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # it is our disk that fails, not the registry
            raise self._unavailable(_first_line(error)) from error

    def _translated(self, error: MlflowException) -> Exception:
        text = _first_line(error)
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" or ("alias" in text and "not found" in text):
            return not_found(text)
        if error.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"):
            return invalid(f"the registry refuses: {text}")
        return self._unavailable(text)

    def _unavailable(self, text: str) -> RegistryUnavailable:
        """Keep what a reader needs of a client library's message: the cause behind its retries."""
        shown = without_credentials(self.uri)
        cause = _CAUSE.search(text)
        return RegistryUnavailable(shown, cause[1] if cause else text.replace(self.uri.rstrip("/"), shown.rstrip("/")))


def _info(found: ModelVersion, aliases: Iterable[str]) -> VersionInfo:
    return VersionInfo(
        model=found.name,
        version=int(found.version),
        run_id=found.run_id or "",
        source=found.source or "",
        tags=dict(found.tags),
        aliases=tuple(sorted(aliases)),
        created_at=found.creation_timestamp / 1000,
    )


def _list_files(repository: Any, path: str | None, depth: int) -> Iterator[ListedFile]:
    for entry in repository.list_artifacts(path):
        if not entry.is_dir:
            yield ListedFile(entry.path, int(entry.file_size or 0))
        elif depth:
            yield from _list_files(repository, entry.path, depth - 1)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
