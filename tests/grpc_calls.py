"""gRPC calls by literal method names and bytes, so that any client and any message may be tried."""

from __future__ import annotations

from typing import Any

import grpc

from serving.protocol.pb import open_inference_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"


def infer_message(*values: float, model: str = "m", **fields: Any) -> bytes:
    """Write a request with one FP32 row named `x`."""
    message = pb.ModelInferRequest(model_name=model, **fields)
    message.inputs.add(name="x", datatype="FP32", shape=[1, len(values)]).contents.fp32_contents.extend(values)
    return message.SerializeToString()


def message_of_size(size: int) -> bytes:
    """Write a request of so many bytes exactly, 200 or more, its id filling what the row leaves."""
    message = infer_message(*[0.0] * ((size - 100) // 4))
    rest = size - len(message) - 2
    return message + b"\x1a" + bytes((rest,)) + b"i" * rest


def row_of(answer: bytes) -> bytes:
    """Return the first output's raw data."""
    return pb.ModelInferResponse.FromString(answer).raw_output_contents[0]


def unary(channel: grpc.aio.Channel, method: str = INFER) -> Any:
    """Make the callable of a method that takes and gives bytes."""
    return channel.unary_unary(method)
