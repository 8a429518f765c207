"""Our gRPC messages are field for field those that a stock client sends, and live in one process with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tritonclient.grpc as client
from google.protobuf.descriptor import Descriptor, FileDescriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from serving.protocol.pb import model_config_pb2 as our_config
from serving.protocol.pb import open_inference_pb2 as ours

FILES = [(service_pb2.DESCRIPTOR, ours.DESCRIPTOR), (model_config_pb2.DESCRIPTOR, our_config.DESCRIPTOR)]


def messages(file: FileDescriptor) -> dict[str, Descriptor]:
    """Every message of a file by its name without the package, nested ones included."""

    def walk(message: Descriptor) -> Iterator[Descriptor]:
        yield message
        for nested in message.nested_types:
            yield from walk(nested)

    found = (nested for message in file.message_types_by_name.values() for nested in walk(message))
    return {message.full_name.removeprefix(f"{file.package}."): message for message in found}


def fields(message: Descriptor) -> set[tuple[object, ...]]:
    """A message's fields as the wire and its readers know them."""
    package = f"{message.file.package}."

    def kind(named: object) -> str:
        return str(getattr(named, "full_name", "")).removeprefix(package)

    return {
        (
            field.name,
            field.number,
            field.type,
            field.is_repeated,
            field.has_presence,
            kind(field.message_type),
            kind(field.enum_type),
            field.containing_oneof.name if field.containing_oneof else None,
        )
        for field in message.fields
    }


@pytest.mark.parametrize(("theirs", "our_file"), FILES, ids=["service", "model_config"])
def test_every_message_has_the_same_fields(theirs: FileDescriptor, our_file: FileDescriptor) -> None:
    """Name, number, type, label and oneof: bytes of one mean the same to the other."""
    expected, declared = messages(theirs), messages(our_file)

    assert declared.keys() == expected.keys()
    assert {name: fields(message) for name, message in declared.items()} == {
        name: fields(message) for name, message in expected.items()
    }


@pytest.mark.parametrize(("theirs", "our_file"), FILES, ids=["service", "model_config"])
def test_every_enum_has_the_same_values(theirs: FileDescriptor, our_file: FileDescriptor) -> None:
    """Top-level and nested enums."""

    def enums(file: FileDescriptor) -> dict[str, dict[str, int]]:
        nested = [enum for message in messages(file).values() for enum in message.enum_types]
        return {
            enum.full_name.removeprefix(f"{file.package}."): {value.name: value.number for value in enum.values}
            for enum in [*file.enum_types_by_name.values(), *nested]
        }

    assert enums(our_file) == enums(theirs)


def test_the_service_has_the_same_methods() -> None:
    """Same names, messages and streaming."""

    def methods(file: FileDescriptor) -> set[tuple[object, ...]]:
        service = file.services_by_name["GRPCInferenceService"]
        return {
            (m.name, m.input_type.name, m.output_type.name, m.client_streaming, m.server_streaming)
            for m in service.methods
        }

    assert methods(ours.DESCRIPTOR) == methods(service_pb2.DESCRIPTOR)


def test_both_live_in_one_process() -> None:
    """Protobuf knows a message by its full name, once per process: ours has a package of its own."""
    assert client.service_pb2.ModelInferRequest.DESCRIPTOR.full_name == "inference.ModelInferRequest"
    assert ours.ModelInferRequest.DESCRIPTOR.full_name == "shepherd.inference.ModelInferRequest"
