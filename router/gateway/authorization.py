"""Who may do what at the doors of a router: keys identified, scopes held, refusals counted. Denies by default.

Off, as it is unless the setting `api_keys` says `required`, it lets everybody do everything and costs one comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Final

from router.access.key import ApiKey, KeyRejection, KeyRing, KeySnapshot, take_secret
from router.access.scope import EVERYTHING, Action
from serving.protocol.errors import ErrorKind, ServingError
from serving.telemetry import catalog
from serving.telemetry.instruments import Registry

_HOW: Final = "send it as `authorization: Bearer KEY` or `x-api-key: KEY`"
#: Stands for everybody where no keys are asked for.
ANYBODY: Final = ApiKey("", EVERYTHING, "", 0.0)


class Authorizer:
    """Holds the keys of this router."""

    def __init__(self, registry: Registry, *, required: bool, clock: Callable[[], float] = time.time) -> None:
        self.required: Final = required
        self.epoch = -1
        self._registry = registry
        self._clock = clock
        self._ring: KeyRing | None = None
        """None until keys were read once, from the store or from disk."""

    def apply(self, snapshot: KeySnapshot) -> bool:
        """Take keys unless they are older than those in force; tell whether they were taken."""
        if snapshot.epoch <= self.epoch:
            return False
        self.epoch, self._ring = snapshot.epoch, KeyRing(snapshot.keys)
        return True

    def identify(self, headers: MutableMapping[str, str], protocol: str) -> ApiKey:
        """Find out who calls, and take the secret out of the headers: nobody after this sees it.

        Raises:
            ServingError: UNAUTHENTICATED; UNAVAILABLE while no keys are known.
        """
        if not self.required:
            return ANYBODY
        if self._ring is None:
            self._count(protocol, "unready")
            raise ServingError(ErrorKind.UNAVAILABLE, "keys cannot be checked yet: their store is away; retry later")
        found = self._ring.find(take_secret(headers), self._clock())
        if isinstance(found, ApiKey):
            return found
        self._count(protocol, found)
        if found is KeyRejection.MISSING:
            raise ServingError(ErrorKind.UNAUTHENTICATED, f"this gateway asks for an API key: {_HOW}")
        what = "has expired" if found is KeyRejection.EXPIRED else "is unknown, or was revoked"
        raise ServingError(ErrorKind.UNAUTHENTICATED, f"this API key {what}; ask an operator for another, and {_HOW}")

    def require(self, caller: ApiKey | None, action: Action, model: str, protocol: str) -> None:
        """Let a caller do something, or not; an empty model stands for the server as a whole.

        Raises:
            ServingError: UNAUTHENTICATED for nobody, FORBIDDEN outside the caller's scope.
        """
        if not self.required:
            return
        if caller is None:
            self._count(protocol, KeyRejection.MISSING)
            raise ServingError(ErrorKind.UNAUTHENTICATED, f"this gateway asks for an API key: {_HOW}")
        if not caller.scope.allows(action, model):
            self._count(protocol, "scope")
            of = f'of model "{model[:128]}"' if model else "of the server"
            raise ServingError(
                ErrorKind.FORBIDDEN,
                f'the API key "{caller.name}" does not cover {action} {of}: its scope is {caller.scope}; '
                "ask an operator for a key that does",
            )

    def _count(self, protocol: str, reason: str) -> None:
        self._registry.counter(catalog.ACCESS_REFUSALS, protocol=protocol, outcome=str(reason)).add()
