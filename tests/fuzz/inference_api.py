"""An OpenAPI document of the inference doors, as far as a fuzzer needs one: paths, and what bodies look like. Pure."""

from __future__ import annotations

from typing import Any, Final

_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"enum": ["x", "features"]},
        "datatype": {"enum": ["FP32", "FP16", "BF16", "INT8", "UINT64", "BOOL", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer"}, "maxItems": 4},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_INFER: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR, "maxItems": 3},
        "outputs": {"type": "array", "items": {"type": "object"}, "maxItems": 3},
        "parameters": {"type": "object"},
    },
}
_ROWS: Final = {
    "type": "object",
    "properties": {name: {} for name in ("instances", "inputs", "dataframe_split", "dataframe_records", "params")},
}
_OBJECT: Final = {"type": "object", "properties": {"ready": {"type": "boolean"}, "parameters": {"type": "object"}}}
_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = _MODEL + "/versions/{version}"
_READ: Final = (
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/logging", "/v2/trace/setting", "/version"),
    *(place + end for place in (_MODEL, _VERSION) for end in ("", "/ready", "/config", "/stats")),
    "/v1/models/{model}",
)
_WRITTEN: Final = {
    _MODEL + "/infer": _INFER,
    _VERSION + "/infer": _INFER,
    "/v1/models/{model}:predict": _ROWS,
    "/v1/models/{model}/versions/{version}:predict": _ROWS,
    "/invocations": _ROWS,
    "/v2/repository/index": _OBJECT,
    "/v2/repository/models/{model}/load": _OBJECT,
    "/v2/repository/models/{model}/unload": _OBJECT,
    "/v2/systemsharedmemory/status": _OBJECT,
}


def document(model: str) -> dict[str, Any]:
    """Describe the doors; every other request asks for `model`, in its first version."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Inference", "version": "2"},
        "paths": {
            **{path: {"get": _operation(path, model)} for path in _READ},
            **{path: {"post": _operation(path, model, body)} for path, body in _WRITTEN.items()},
        },
    }


def _operation(path: str, model: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    values = {"model": {"enum": [model, "none"]}, "version": {"enum": ["1", "9", "x"]}}
    operation: dict[str, Any] = {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in values.items()
            if f"{{{name}}}" in path
        ],
        "responses": {"200": {"description": "an answer"}, "default": {"description": "an error"}},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation
