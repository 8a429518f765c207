"""Decides from where a version's files may be fetched.

A version's `source` is text that anyone with write access to the registry chooses. Left unchecked it makes the gateway
read any file of its host (`file:///etc`) or speak to any host of its network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from serving.protocol.errors import ServingError, invalid

#: Object stores: their own credentials decide what can be read.
_OBJECT_STORES: Final = frozenset({"s3", "gs", "wasb", "wasbs", "abfs", "abfss"})


class SourcePolicy:
    """Which source URIs are acceptable, given the registry's own address."""

    def __init__(self, registry_uri: str, roots: Sequence[Path] = ()) -> None:
        """Allow local folders below `roots`, the registry's own artifact proxy and object stores."""
        self._registry = urlsplit(registry_uri)
        self._roots = [root.resolve() for root in roots]

    def check(self, source: str) -> str:
        """Accept a source URI.

        Returns:
            The address to fetch from: of local files the resolved one, so that no other reader of the URI could take
            it for another.

        Raises:
            ServingError: INVALID, it is not acceptable: the message says why and what is.
        """
        try:
            uri = urlsplit(source)
            if uri.scheme not in ("", "file"):
                return self._check_server(uri, source)
            if uri.scheme and (uri.query or uri.fragment):
                raise _refused(source, "the address of a folder has no query ('?') and no fragment ('#')")
            # Where there is no scheme the text is a path, and '?' and '#' are characters like others.
            return self._check_folder(Path(unquote(uri.path if uri.scheme else source)), source)
        except (ValueError, OSError, RuntimeError) as error:  # the last one for links that lead in a circle
            raise invalid(f"the version's files are refused: their address cannot be read: {error}") from error

    def _check_server(self, uri: SplitResult, source: str) -> str:
        if uri.scheme in _OBJECT_STORES:
            return source
        if not self._is_registry(uri):
            raise _refused(source, "files may come from the registry itself, an object store or an allowed folder")
        if uri.query or uri.fragment:
            raise _refused(source, "an address in the registry has no query ('?') and no fragment ('#')")
        return source

    def _check_folder(self, folder: Path, source: str) -> str:
        resolved = folder.resolve()
        if not any(resolved.is_relative_to(root) for root in self._roots):
            allowed = ", ".join(str(root) for root in self._roots) or "none"
            raise _refused(source, f"local files may only lie below the allowed folders: {allowed}")
        for path in resolved.rglob("*"):
            if path.is_symlink():
                raise _refused(source, f"'{path.relative_to(resolved)}' in it is a symbolic link")
        return resolved.as_uri()

    def _is_registry(self, uri: SplitResult) -> bool:
        if uri.scheme == "mlflow-artifacts":
            return uri.netloc in ("", self._registry.netloc)
        return uri.scheme in ("http", "https") and uri.netloc == self._registry.netloc


def without_credentials(uri: str) -> str:
    """Show a URI without the user and password that it may hold."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _refused(source: str, reason: str) -> ServingError:
    return invalid(f"the version's files at {without_credentials(source)} are refused: {reason}")
