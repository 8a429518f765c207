"""The web page and the API's own documentation: static files from the package, nothing from elsewhere.

They are open to everybody who reaches the port because they tell nothing about this gateway: all data comes through
the API, with the token that the reader enters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse

from router.admin.guard import GuardedRoute
from router.admin.problems import Problem

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

_FOLDER: Final = Path(__file__).parent / "static"
_SCRIPTS: Final = (
    "overview.js",
    "elements.js",
    "gateway.js",
    "dialog.js",
    "traffic.js",
    "moving.js",
    "rollouts.js",
    "watching.js",
    "docs.js",
)
#: The whole list: a request names an entry, never a path.
_ASSETS: Final = {"page.css": "text/css", **dict.fromkeys(_SCRIPTS, "text/javascript")}


@router.get("/")
async def page() -> FileResponse:
    """Serve the overview."""
    return FileResponse(_FOLDER / "overview.html", media_type="text/html")


@router.get("/docs")
async def docs() -> FileResponse:
    """Serve the documentation of the API."""
    return FileResponse(_FOLDER / "docs.html", media_type="text/html")


@router.get("/static/{name}")
async def page_asset(name: str) -> FileResponse:
    """Serve a script or style sheet of the pages."""
    if name not in _ASSETS:
        raise Problem("not-found", f"no asset {name}")
    return FileResponse(_FOLDER / name, media_type=_ASSETS[name])


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """Serve the OpenAPI description."""
    description: dict[str, Any] = request.app.openapi()
    return JSONResponse(description)
