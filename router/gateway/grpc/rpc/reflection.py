"""Server reflection, so that grpcurl and its like need no proto files.

Our messages are declared in a package of their own, since a process that also holds tritonclient has `inference`
already. To clients the service is `inference.GRPCInferenceService`: so reflection describes it from a pool of its own,
in which the package has the public name.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from serving.protocol.pb import feedback_pb2, model_config_pb2, open_inference_pb2

_PRIVATE: Final = "shepherd.inference"
_PUBLIC: Final = "inference"
#: The two versions of the protocol have the same messages.
SERVICES: Final = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


class ReflectionMethods:
    """Describes the public services."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._servicer: Any = ReflectionServicer([*services, *SERVICES], public_pool())

    async def info(self, messages: Any, context: Any) -> Any:
        """Answer each question of a stream."""

        async def questions() -> Any:
            async for message in messages:
                yield reflection_pb2.ServerReflectionRequest.FromString(message)

        async for answer in self._servicer.ServerReflectionInfo(questions(), context):
            yield answer.SerializeToString()


def public_pool() -> DescriptorPool:
    """Build the pool in which our messages have their public names."""
    pool = DescriptorPool()
    for module in (model_config_pb2, open_inference_pb2):
        renamed = _renamed(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))
        pool.AddSerializedFile(renamed.SerializeToString())
    for module in (feedback_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool


def _renamed(file: FileDescriptorProto) -> FileDescriptorProto:
    """Give a file's package, and every type that it refers to, the public name."""
    file.package = _PUBLIC
    for message in file.message_type:
        _rename_fields(message)
    for service in file.service:
        for method in service.method:
            method.input_type = _public_name(method.input_type)
            method.output_type = _public_name(method.output_type)
    return file


def _rename_fields(message: Any) -> None:
    for field in message.field:
        if field.type_name:
            field.type_name = _public_name(field.type_name)
    for nested in message.nested_type:
        _rename_fields(nested)


def _public_name(name: str) -> str:
    return name.replace(f".{_PRIVATE}.", f".{_PUBLIC}.", 1)
