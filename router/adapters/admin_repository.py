"""Loads and unloads versions through the admin API of the control process, under the caller's own credentials."""

from __future__ import annotations

from typing import Any, Final

import httpx

from serving.protocol.errors import ErrorKind, ServingError

_KINDS: Final = {
    400: ErrorKind.INVALID,
    401: ErrorKind.UNAUTHENTICATED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.NOT_FOUND,
    409: ErrorKind.INVALID,
    422: ErrorKind.INVALID,
    429: ErrorKind.OVERLOADED,
    501: ErrorKind.UNSUPPORTED,
    503: ErrorKind.UNAVAILABLE,
    504: ErrorKind.DEADLINE,
}
#: Beyond the time that control itself allows a version to become ready.
_MARGIN_S: Final = 5.0


class AdminRepository:
    """Fits `RepositoryControl`."""

    def __init__(self, host: str, port: int, *, ready_timeout_s: float) -> None:
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{port}/admin/v1/models"
        self._timeout_s = ready_timeout_s + _MARGIN_S

    async def load(self, model: str, version: int | None, authorization: str) -> None:
        """See `RepositoryControl`."""
        await self._post(model, version, "load", authorization)

    async def unload(self, model: str, version: int | None, authorization: str) -> None:
        """See `RepositoryControl`."""
        await self._post(model, version, "unload", authorization)

    async def _post(self, model: str, version: int | None, verb: str, authorization: str) -> None:
        headers = {b"authorization": authorization.encode("latin-1", "replace")}
        path = f"/{model}/{verb}" if version is None else f"/{model}/versions/{version}/{verb}"
        try:
            async with httpx.AsyncClient(timeout=self._timeout_s, trust_env=False) as client:
                answer = await client.post(self._base + path, headers=headers)
        except httpx.TimeoutException:
            raise ServingError(ErrorKind.DEADLINE, f"{verb}: control did not answer in time; it goes on") from None
        except httpx.HTTPError as error:
            raise ServingError(ErrorKind.UNAVAILABLE, f"{verb}: control cannot be reached: {error}") from None
        if answer.is_error:
            kind = _KINDS.get(answer.status_code, ErrorKind.INTERNAL)
            raise ServingError(kind, _reason(answer))


def _reason(answer: httpx.Response) -> str:
    """Take the words out of a problem document (RFC 9457)."""
    try:
        document: Any = answer.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        for member in ("detail", "title", "error"):
            if isinstance(document.get(member), str):
                return str(document[member])
    return f"control answered {answer.status_code}"
