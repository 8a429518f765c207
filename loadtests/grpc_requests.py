"""Models and requests of the gRPC benchmark: one FP32 tensor in, one out, as files that a load generator sends."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from loadtests.h2load import Target
from loadtests.model import INPUT, build_classifier, random_rows
from serving.protocol.pb import open_inference_pb2 as pb

Array = npt.NDArray[np.float32]
_PREFIX: Final = struct.Struct(">BI")
_GRPC: Final = {"content-type": "application/grpc", "te": "trailers", "x-user-id": "u1"}


class Case(msgspec.Struct, frozen=True):
    """One model and one input."""

    title: str
    model: str
    build: Callable[[], bytes]
    array: Callable[[], Array]

    @property
    def body_bytes(self) -> int:
        """Bytes of the tensor."""
        return int(self.array().nbytes)

    def write(self, folder: Path) -> tuple[Path, Path, Path]:
        """Write the model, a framed gRPC message, and a V2 body with binary data; `raw.bin` holds the tensor alone."""
        array = self.array()
        message = pb.ModelInferRequest(model_name=self.model)
        message.inputs.add(name=INPUT, datatype="FP32", shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
        encoded = message.SerializeToString()
        files = {
            "model.onnx": self.build(),
            "grpc.bin": _PREFIX.pack(0, len(encoded)) + encoded,
            "http.bin": self._header() + array.tobytes(),
            "raw.bin": array.tobytes(),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder / "model.onnx", folder / "grpc.bin", folder / "http.bin"

    def example(self, folder: Path) -> Path:
        """Write the request by which a gateway checks the model before it serves it."""
        array = self.array()
        tensor = {"name": INPUT, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
        file = folder / "example.json"
        file.write_bytes(msgspec.json.encode({"inputs": [tensor]}))
        return file

    def is_right(self, model: Path, answer: bytes) -> bool:
        """Compare an answer with onnxruntime's own."""
        expected = onnxruntime.InferenceSession(model).run(None, {INPUT: self.array()})[0]
        raw = pb.ModelInferResponse.FromString(answer).raw_output_contents[0]
        return bool(np.allclose(np.frombuffer(raw, np.float32), np.ravel(expected), atol=1e-4))

    def over_grpc(self, port: int, body: Path) -> Target:
        """Say what to send to a gRPC port."""
        return Target(f"http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer", body, _GRPC)

    def over_http(self, port: int, body: Path, *, path: str) -> Target:
        """Say what to send to an HTTP port: with a V2 header's length, unless it is the tensor alone."""
        headers = {"content-type": "application/octet-stream", "x-user-id": "u1"}
        if body.name == "http.bin":
            headers["inference-header-content-length"] = str(len(self._header()))
        return Target(f"http://127.0.0.1:{port}{path}", body, headers, http1=True)

    def _header(self) -> bytes:
        array = self.array()
        size = {"binary_data_size": array.nbytes}
        tensor = {"name": INPUT, "datatype": "FP32", "shape": array.shape, "parameters": size}
        return msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})


def build_brightness() -> bytes:
    """Build an ONNX file: an image FP32 [N, 3, 224, 224] -> the mean of each channel FP32 [N, 3]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", [INPUT], ["brightness"], axes=[2, 3], keepdims=0)],
        "brightness",
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, 224, 224])],
        outputs=[helper.make_tensor_value_info("brightness", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _image() -> Array:
    return np.random.default_rng(0).random((1, 3, 224, 224)).astype(np.float32)


SMALL: Final = Case("A small classifier", "bench", build_classifier, lambda: random_rows(1, 16))
IMAGE: Final = Case("An image of 600 KB", "image", build_brightness, _image)
