"""The V2 model repository extension, for both doors: what versions there are, and asking control to load or unload one.

The doors of inference have no authority over what runs. Loading and unloading go to the control process with the
caller's own credentials, under which it decides; a request without any is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from router.gateway.catalogue import Catalogue
from router.gateway.names import NAME, read_version
from serving.protocol.errors import ErrorKind, ServingError, invalid, not_found

_STATES: Final = {
    "absent": "UNAVAILABLE",
    "fetching": "LOADING",
    "loading": "LOADING",
    "ready": "READY",
    "cold": "READY",  # on demand: it answers, the first time after a load
    "failed": "UNAVAILABLE",
    "draining": "UNLOADING",
}


class RepositoryControl(Protocol):
    """Who loads and unloads versions."""

    async def load(self, model: str, version: int | None, authorization: str) -> None:
        """Make a version ready, the newest one when none is named, and wait until it is.

        Raises:
            ServingError: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID when it cannot be loaded, UNAVAILABLE.
        """

    async def unload(self, model: str, version: int | None, authorization: str) -> None:
        """Drain and free a version, or all of a model's that no policy names.

        Raises:
            ServingError: as `load`; INVALID when a policy names the version.
        """


class Repository:
    """Index, load and unload."""

    def __init__(self, catalogue: Catalogue, control: RepositoryControl) -> None:
        self._catalogue = catalogue
        self._control = control

    def index(self, *, only_ready: bool, sees: Callable[[str], bool]) -> list[dict[str, Any]]:
        """List versions in V2's form, by name and number, of the models that the caller sees."""
        entries = [
            {
                "name": status.model,
                "version": str(status.version),
                "state": _STATES.get(status.state, "UNAVAILABLE"),
                "reason": status.reason,
            }
            for status in self._catalogue.statuses()
            if sees(status.model)
        ]
        return [entry for entry in entries if entry["state"] == "READY" or not only_ready]

    async def load(self, model: str, parameters: Mapping[str, object], headers: Mapping[str, str]) -> None:
        """Ask control to make a version ready; the parameter `version` names one, else it is the newest.

        Raises:
            ServingError: see `RepositoryControl.load`; UNSUPPORTED for files and configurations from the network.
        """
        _refuse_overrides(parameters)
        _check_name(model)
        await self._control.load(model, _version(parameters), _authorization(headers))

    async def unload(self, model: str, parameters: Mapping[str, object], headers: Mapping[str, str]) -> None:
        """Ask control to drain and free a version; the parameter `unload_dependents` means nothing here."""
        _check_name(model)
        await self._control.unload(model, _version(parameters), _authorization(headers))


def _check_name(model: str) -> None:
    """Let through what is a model's name: it becomes part of a path under the caller's credentials."""
    if not NAME.fullmatch(model):
        raise not_found(f'"{model[:64]}" is no name of a model')


def _refuse_overrides(parameters: Mapping[str, object]) -> None:
    for name in parameters:
        if name.startswith("file:"):
            raise ServingError(
                ErrorKind.UNSUPPORTED,
                f'parameters: "{name[:64]}": models come from the registry, never from a request; '
                "register the file as a version",
            )
        if name == "config":
            raise ServingError(
                ErrorKind.UNSUPPORTED,
                'parameters: "config": a version is served as it was registered; its tags configure it',
            )


def _version(parameters: Mapping[str, object]) -> int | None:
    value = parameters.get("version")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | str)):
        raise invalid('parameters: "version" must be a number')
    return None if value is None else read_version(str(value))


def _authorization(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if not authorization:
        raise ServingError(
            ErrorKind.UNAUTHENTICATED,
            "loading and unloading need a token of the admin API: send it as `authorization: Bearer …`",
        )
    return authorization
