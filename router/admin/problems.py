"""Failures of the admin API as problem documents (RFC 9457), one table of kinds, never a stack trace."""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from router.ports import RevisionConflict, StoreUnavailable
from serving.protocol.errors import ErrorKind, ServingError

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:model-shepherd:problem:"
_log = logging.getLogger(__name__)

#: Kind -> status and title. The kind ends the document's `type`, for programs; the title is for people.
KINDS: Final[dict[str, tuple[int, str]]] = {
    "invalid-request": (400, "Invalid request"),
    "unauthenticated": (401, "Missing or invalid bearer token"),
    "forbidden": (403, "Not allowed"),
    "wrong-origin": (403, "Wrong host or origin"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "version-unready": (409, "A version is not ready"),
    "conflict": (409, "Conflict with the current state"),
    "revision-stale": (412, "The revision has changed"),
    "too-large": (413, "Request body too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "key-reused": (422, "Idempotency key already used for another request"),
    "precondition-missing": (428, "Precondition required"),
    "overloaded": (429, "Too many requests"),
    "internal": (500, "Internal error"),
    "unsupported": (501, "Not supported"),
    "unavailable": (503, "Temporarily unavailable"),
    "deadline": (504, "Deadline exceeded"),
}

_OF_ERROR: Final = {
    ErrorKind.INVALID: "invalid-request",
    ErrorKind.NOT_FOUND: "not-found",
    ErrorKind.TOO_LARGE: "too-large",
    ErrorKind.OVERLOADED: "overloaded",
    ErrorKind.DEADLINE: "deadline",
    ErrorKind.UNAVAILABLE: "unavailable",
    ErrorKind.UNSUPPORTED: "unsupported",
    ErrorKind.UNAUTHENTICATED: "unauthenticated",
    ErrorKind.FORBIDDEN: "forbidden",
}
_OF_STATUS: Final = {404: "not-found", 405: "method-not-allowed"}


class Problem(HTTPException):
    """A failure to answer with: its kind, a detail that says what to do, and members of its own.

    It is an HTTPException so that FastAPI lets it pass while it reads a body.
    """

    def __init__(self, kind: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(KINDS[kind][0], detail, headers)
        self.kind = kind
        self.members = members


def problem_response(problem: Problem) -> JSONResponse:
    """Render a problem."""
    status, title = KINDS[problem.kind]
    document = {"type": _TYPE_PREFIX + problem.kind, "title": title, "status": status, "detail": problem.detail}
    return JSONResponse(document | problem.members, status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every failure of the app leave as a problem document."""

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> JSONResponse:
        return problem_response(error if isinstance(error, Problem) else _of_http(error))

    @app.exception_handler(RequestValidationError)
    async def on_validation(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(_of_validation(error))

    @app.exception_handler(ServingError)
    async def on_serving(_: Request, error: ServingError) -> JSONResponse:
        kind = _OF_ERROR.get(error.kind)
        return problem_response(Problem(kind, error.message) if kind else _defect(error))

    @app.exception_handler(RevisionConflict)
    async def on_conflict(_: Request, error: RevisionConflict) -> JSONResponse:
        return problem_response(stale(error.model, error.expected, error.actual))

    @app.exception_handler(StoreUnavailable)
    async def on_store(_: Request, error: StoreUnavailable) -> JSONResponse:
        detail = f"{error}; traffic continues with the last known policies; try again"
        return problem_response(Problem("unavailable", detail, headers={"Retry-After": "1"}))

    @app.exception_handler(Exception)
    async def on_defect(_: Request, error: Exception) -> JSONResponse:
        return problem_response(_defect(error))


def stale(model: str, expected: int, actual: int) -> Problem:
    """Build the answer to a write that was made from another revision than the one that stands."""
    stands = f"revision {actual} is in force" if actual else "there is no policy"
    detail = f"{model}: the change was based on revision {expected}, but {stands}; read it again and retry"
    return Problem("revision-stale", detail, current_revision=actual)


def _of_http(error: HTTPException) -> Problem:
    """Name what the framework itself refused: an unknown path, a wrong method, a body that is no JSON."""
    kind = _OF_STATUS.get(error.status_code, "invalid-request" if error.status_code < 500 else "internal")
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        detail = {404: "no such path; /docs lists them", 405: "this path does not take that method"}.get(
            error.status_code, detail
        )
    return Problem(kind, detail, headers=dict(error.headers) if error.headers else None)


def _of_validation(error: RequestValidationError) -> Problem:
    """Name the first field at fault: where it is (path, query, header, body), then what is wrong with it."""
    first = error.errors()[0]
    where, *path = (str(part) for part in first["loc"])
    field = ".".join(path) if path and first["type"] != "json_invalid" else where
    return Problem("invalid-request", f"{field}: {first['msg']} (in the {where})", field=field)


def _defect(error: Exception) -> Problem:
    """Hide a defect behind an id that finds it in the gateway's log."""
    incident = uuid.uuid4().hex[:12]
    _log.error("admin request failed, id %s", incident, exc_info=error)
    return Problem("internal", f"unexpected failure; see id {incident} in the gateway's log", id=incident)
