"""The yardstick: one process, uvicorn and onnxruntime, V2 JSON in and out; what a user writes in an hour.

Plain but not crippled: raw ASGI without a framework on uvloop and httptools, the model run on the loop (a hand-over to
a thread costs more than the run). It has no policy, no log, no metrics, no batching, and checks nothing. `--tuned` adds
what an expert would change: msgspec for JSON, and one onnxruntime thread, as a pool only costs with a model this small.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Infer = Callable[[bytes], bytes]


def load_model(model: Path, name: str, *, tuned: bool) -> Infer:
    """Load the model; return the function from a V2 JSON request to its answer."""
    options = onnxruntime.SessionOptions()
    if tuned:
        options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    output_names = [output.name for output in session.get_outputs()]
    decode: Callable[[bytes], Any] = msgspec.json.decode if tuned else json.loads
    encode: Callable[[Any], bytes] = msgspec.json.encode if tuned else lambda answer: json.dumps(answer).encode()

    def infer(body: bytes) -> bytes:
        request = decode(body)
        arrays = {
            tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])
            for tensor in request["inputs"]
        }
        outputs = [
            {"name": output, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
            for output, array in zip(output_names, session.run(None, arrays), strict=True)
        ]
        return encode({"model_name": name, "model_version": "1", "outputs": outputs})

    return infer


class BareApp:
    """The ASGI app: `POST /v2/models/<name>/infer`, and 404 for all else."""

    def __init__(self, infer: Infer, name: str) -> None:
        self._infer = infer
        self._path = f"/v2/models/{name}/infer"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        found = scope["method"] == "POST" and scope["path"] == self._path
        answer = self._infer(body) if found else b"{}"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tuned", action="store_true")
    arguments = parser.parse_args()
    infer = load_model(arguments.model, arguments.name, tuned=arguments.tuned)
    uvicorn.run(
        BareApp(infer, arguments.name),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
