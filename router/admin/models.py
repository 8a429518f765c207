"""Models and their versions over HTTP: where each stands, and registering new ones.

A version is registered by one JSON body with the ONNX file in base64: a third larger than raw bytes, but file, golden
example and tags come together or not at all, which raw bytes cannot and multipart forms can only with another parser.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.representations import show_models, show_version
from router.admin.services import ModelName, Ports, VersionNumber

_BACKEND = "shepherd.backend"
_ONNX = "onnx"

router = APIRouter(prefix="/admin/v1/models", tags=["models"], route_class=GuardedRoute)


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that registers a version."""

    onnx: bytes = b""
    """The ONNX file; base64 in JSON. Left out for a backend that needs none."""
    example: msgspec.Raw = msgspec.Raw()
    """A V2 inference request; its answer is recorded as the golden one. Left out: none."""
    tags: dict[str, str] = {}


_REGISTRATION_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "onnx": {"type": "string", "format": "byte", "description": "The ONNX file, in base64."},
                        "example": {
                            "type": "object",
                            "description": "A V2 inference request; the model's answer to it is recorded as golden.",
                        },
                        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                }
            }
        },
    }
}


@router.get("")
async def list_models(ports: Ports) -> dict[str, Any]:
    """List models with all versions that the registry or the gateway knows."""
    return {"models": show_models(await ports.versions.versions())}


@router.get("/{model}")
async def get_model(model: ModelName, ports: Ports) -> dict[str, Any]:
    """Show one model with its versions."""
    for shown in show_models(await ports.versions.versions()):
        if shown["name"] == model:
            return shown
    raise Problem("not-found", f"no model {model} in the registry")


@router.get("/{model}/versions/{version}")
async def get_version(model: ModelName, version: VersionNumber, ports: Ports) -> dict[str, Any]:
    """Show one version: its state, why, its processes and its lineage."""
    for status in await ports.versions.versions():
        if (status.model, status.version) == (model, version):
            return show_version(status)
    raise Problem("not-found", f"{model}: the registry has no version {version}")


@router.post("/{model}/versions", status_code=201, openapi_extra=_REGISTRATION_SCHEMA)
async def register_version(model: ModelName, request: Request, ports: Ports) -> Response:
    """Add a version of a model to the registry; it gets no traffic until a policy names it."""
    body = await request.body()
    registration = await asyncio.to_thread(_parse, body)
    example = bytes(registration.example) or None
    version = await ports.versions.register(model, registration.onnx, example=example, tags=registration.tags)
    location = f"/admin/v1/models/{model}/versions/{version}"
    return JSONResponse({"name": model, "version": version}, 201, {"Location": location})


def _parse(body: bytes) -> Registration:
    """Decode a registration, which may be large: in a thread.

    Raises:
        Problem: 400, naming the field.
    """
    try:
        registration = msgspec.json.decode(body, type=Registration)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("invalid-request", f"body: {error}") from None
    if not registration.onnx and registration.tags.get(_BACKEND, _ONNX) == _ONNX:
        raise Problem("invalid-request", "onnx: is empty", field="onnx")
    return registration
