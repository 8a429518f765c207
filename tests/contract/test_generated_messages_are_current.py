"""The generated messages are what the files in proto/ say."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]

from serving.protocol.pb import feedback_pb2, model_config_pb2, open_inference_pb2

ROOT = Path(__file__).parents[2]
VIRTUAL = "serving/protocol/pb"


@pytest.mark.parametrize(
    "file",
    [feedback_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR, open_inference_pb2.DESCRIPTOR],
    ids=lambda file: file.name,
)
def test_generating_again_changes_nothing(file: FileDescriptor, tmp_path: Path) -> None:
    """Compared as descriptors, since the text around them differs between versions of protoc."""
    compiled = tmp_path / "descriptors"
    status = protoc.main(["protoc", f"-I{VIRTUAL}={ROOT / 'proto'}", f"--descriptor_set_out={compiled}", file.name])
    assert status == 0

    (expected,) = FileDescriptorSet.FromString(compiled.read_bytes()).file

    generated = FileDescriptorProto.FromString(file.serialized_pb)
    expected.ClearField("source_code_info")
    for described in (expected, generated):
        _drop_json_names(described)
    assert generated == expected


def _drop_json_names(described: FileDescriptorProto) -> None:
    """Protoc writes them to descriptor sets and not to modules; they follow from the names."""
    pending = list(described.message_type)
    while pending:
        message = pending.pop()
        pending.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")


def test_the_messages_are_typed() -> None:
    """A stub lies beside each generated module."""
    folder = resources.files("serving.protocol.pb")

    assert all((folder / f"{name}_pb2.pyi").is_file() for name in ("feedback", "model_config", "open_inference"))
