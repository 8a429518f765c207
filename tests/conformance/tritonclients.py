"""Every public method of the four stock tritonclient libraries, called once each."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient._plugin import InferenceServerClientPlugin

from tests.conformance.kit import ROWS, Check, Outcome, Target, judge

_NO_MEMORY = "shared memory is not offered"
_LIBRARIES = {
    "tritonclient.http": tritonclient.http,
    "tritonclient.http.aio": tritonclient.http.aio,
    "tritonclient.grpc": tritonclient.grpc,
    "tritonclient.grpc.aio": tritonclient.grpc.aio,
}


def inputs(library: Any) -> list[Any]:
    features = library.InferInput("features", list(ROWS.shape), "FP32")
    features.set_data_from_numpy(ROWS)
    return [features]


def is_expected(result: Any, target: Target) -> bool:
    return bool(np.array_equal(result.as_numpy("probabilities"), target.expected))


def _named(result: Any, name: str) -> Any:
    """Read a member of a document or of a message."""
    return result[name] if isinstance(result, dict) else getattr(result, name)


def _async_infer(client: Any, library: Any, target: Target) -> Any:
    if library is tritonclient.http:
        return client.async_infer(target.model, inputs(library)).get_result()
    done: queue.Queue[Any] = queue.Queue()
    client.async_infer(target.model, inputs(library), lambda result, error: done.put(error or result))
    return _raised(done.get(timeout=10))


def _stream(client: Any, library: Any, target: Target) -> Any:
    done: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: done.put(error or result))
    client.async_stream_infer(target.model, inputs(library), request_id="s")
    result = _raised(done.get(timeout=10))
    client.stop_stream()
    return result


async def _aio_stream(client: Any, library: Any, target: Target) -> Any:
    async def requests() -> Any:
        yield {"model_name": target.model, "inputs": inputs(library), "request_id": "s"}

    result, error = await anext(aiter(client.stream_infer(requests())))
    return _raised(error or result)


def _raised(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return result


def _generate_and_parse(_client: Any, library: Any, target: Target) -> Any:
    body, length = library.InferenceServerClient.generate_request_body(inputs(library))
    assert length
    return body


class _Headers(InferenceServerClientPlugin):
    """How the stock clients let their users add headers to every request."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Any) -> None:
        request.headers.update(self._headers)


def _plug(client: Any, _library: Any, target: Target) -> Any:
    """Take the plugin out that every call is made with, and put it in again."""
    client.unregister_plugin()
    client.register_plugin(_Headers(target.headers))


def _connect(library: Any, address: str, target: Target) -> Any:
    client = library.InferenceServerClient(address)
    client.register_plugin(_Headers(target.headers))
    return client


def checks(target: Target) -> dict[str, Check]:
    """Every method of any of the four clients; those that need each other share a check."""
    headers = {"authorization": target.authorization} if target.authorization else None
    no_token = "" if target.authorization else "token"

    def is_serving(result: Any, target: Target) -> bool:
        entries = result if isinstance(result, list) else result.models
        return any(_named(entry, "name") == target.model for entry in entries)

    def has_stats(result: Any, target: Target) -> bool:
        return any(_named(entry, "name") == target.model for entry in _named(result, "model_stats"))

    def has_config(result: Any, target: Target) -> bool:
        return bool(_named(result if isinstance(result, dict) else result.config, "name") == target.model)

    memory = {
        "get_system_shared_memory_status": lambda c, _l, _t: c.get_system_shared_memory_status(),
        "get_cuda_shared_memory_status": lambda c, _l, _t: c.get_cuda_shared_memory_status(),
        "register_system_shared_memory": lambda c, _l, _t: c.register_system_shared_memory("r", "/r", 64),
        "register_cuda_shared_memory": lambda c, _l, _t: c.register_cuda_shared_memory("r", b"aGFuZGxl", 0, 64),
        "unregister_system_shared_memory": lambda c, _l, _t: c.unregister_system_shared_memory("r"),
        "unregister_cuda_shared_memory": lambda c, _l, _t: c.unregister_cuda_shared_memory("r"),
    }
    stream = Check(_stream, is_expected)
    plug, body = Check(_plug), Check(_generate_and_parse)
    return {
        "is_server_live": Check(lambda c, _l, _t: c.is_server_live(), lambda r, _t: r is True),
        "is_server_ready": Check(lambda c, _l, _t: c.is_server_ready(), lambda r, _t: r is True),
        "is_model_ready": Check(lambda c, _l, t: c.is_model_ready(t.model, "1"), lambda r, _t: r is True),
        "get_server_metadata": Check(
            lambda c, _l, _t: c.get_server_metadata(), lambda r, _t: "classification" in _named(r, "extensions")
        ),
        "get_model_metadata": Check(
            lambda c, _l, t: c.get_model_metadata(t.model), lambda r, t: _named(r, "name") == t.model
        ),
        "get_model_config": Check(lambda c, _l, t: c.get_model_config(t.model), has_config),
        "get_model_repository_index": Check(lambda c, _l, _t: c.get_model_repository_index(), is_serving),
        "get_inference_statistics": Check(lambda c, _l, t: c.get_inference_statistics(t.model), has_stats),
        "get_log_settings": Check(lambda c, _l, _t: c.get_log_settings()),
        "update_log_settings": Check(
            lambda c, _l, _t: c.update_log_settings({"log_verbose_level": 3}), refusal="restart with the setting"
        ),
        "get_trace_settings": Check(lambda c, _l, t: c.get_trace_settings(t.model)),
        "update_trace_settings": Check(
            lambda c, _l, t: c.update_trace_settings(t.model, {"trace_rate": "7"}), refusal="tracing is not offered"
        ),
        "infer": Check(lambda c, lib, t: c.infer(t.model, inputs(lib)), is_expected),
        "async_infer": Check(_async_infer, is_expected),
        "start_stream": stream,
        "async_stream_infer": stream,
        "stop_stream": stream,
        "stream_infer": Check(_aio_stream, is_expected),
        "load_model": Check(lambda c, _l, t: c.load_model(t.model, headers=headers), refusal=no_token),
        "unload_model": Check(lambda c, _l, t: c.unload_model(t.model, headers=headers), refusal=no_token),
        "generate_request_body": body,
        "parse_response_body": body,
        "register_plugin": plug,
        "unregister_plugin": plug,
        "plugin": Check(lambda c, _l, _t: c.plugin()),
        "close": Check(lambda c, _l, _t: c.close()),
        **{name: Check(call, refusal=_NO_MEMORY) for name, call in memory.items()},
    }


def methods(library: Any) -> Iterable[str]:
    """List a client's public methods, those that end it last."""
    names = [name for name in dir(library.InferenceServerClient) if not name.startswith("_")]
    return sorted(names, key=lambda name: (name == "close", name == "get_inference_statistics", name))


async def run(target: Target) -> list[Outcome]:
    """Call every method of every client; one that the kit does not know fails."""
    outcomes: list[Outcome] = []
    for name, library in _LIBRARIES.items():
        address = target.grpc if "grpc" in name else target.http
        if name.endswith(".aio"):
            outcomes += await _run_async(name, library, address, target)
        else:
            outcomes += await asyncio.to_thread(_run_sync, name, library, address, target)
    return outcomes


def _run_sync(name: str, library: Any, address: str, target: Target) -> list[Outcome]:
    client = _connect(library, address, target)
    known, outcomes = checks(target), []
    for method in methods(library):
        check = known.get(method, Check(_unknown))
        result, error = None, None
        try:
            result = check.call(client, library, target)
        except Exception as failure:  # noqa: BLE001 - whatever goes wrong is a line of the matrix
            error = failure
        outcomes.append(judge(name, method, check, target, result=result, error=error))
    return outcomes


async def _run_async(name: str, library: Any, address: str, target: Target) -> list[Outcome]:
    client = _connect(library, address, target)
    known, outcomes = checks(target), []
    for method in methods(library):
        check = known.get(method, Check(_unknown))
        result, error = None, None
        try:
            result = check.call(client, library, target)
            if inspect.isawaitable(result):
                result = await result
        except Exception as failure:  # noqa: BLE001 - whatever goes wrong is a line of the matrix
            error = failure
        outcomes.append(judge(name, method, check, target, result=result, error=error))
    return outcomes


def _unknown(_client: Any, _library: Any, _target: Target) -> Any:
    raise NotImplementedError("the kit does not know this method")
