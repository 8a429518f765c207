"""Records what a model answers to its golden example, by running it once in this process on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from serving.backends.catalog import create
from serving.backends.outgoing import Reach
from serving.protocol.arrays import to_tensor
from serving.protocol.errors import ServingError, invalid
from serving.protocol.messages import InferRequest, Signature, Tensor
from serving.protocol.validation import validate_request
from serving.registry.artifact import GOLDEN_REQUEST, GOLDEN_RESPONSE
from serving.registry.example import generated_inputs, inputs_from_mlflow
from serving.registry.golden import Golden, Origin, arrays, replay_golden
from serving.registry.golden_json import decode_request, decode_response, encode_request, encode_response
from serving.registry.metadata import check_metadata_size, read_metadata
from serving.registry.model_files import ModelFiles, find_model
from serving.registry.options import ServingOptions, parse_options


class Recording(msgspec.Struct, frozen=True):
    """A model's golden example, and its signature as the runtime reports it."""

    golden: Golden
    signature: Signature


Recorder = Callable[[Path, Mapping[str, str], bytes | None, Reach], Recording]
"""Records for a version's folder and tags, with an example or without; raises as `record` does."""


def record(
    files: ModelFiles,
    options: ServingOptions,
    example: bytes | None,
    reach: Reach,
) -> Recording:
    """Load the model and record its answer to an example.

    Args:
        files: the model.
        options: of the version; the provider is set aside, since the registry's process need not have a GPU.
        example: a V2 inference request; None takes MLflow's input example, or generates inputs.
        reach: how far a backend may reach.

    Raises:
        ServingError: INVALID, the model cannot be loaded, the example does not fit it, it fails on the example, or it
            answers the same example in two ways.
    """
    backend = create(options.backend, files, msgspec.structs.replace(options, provider="cpu"), reach)
    backend.load()
    try:
        inputs, origin = _inputs(files, backend.signature, example)
        try:
            answer = backend.infer(arrays(inputs), ())
            outputs = tuple(
                to_tensor(spec.name, answer[spec.name], spec.datatype) for spec in backend.signature.outputs
            )
            golden = Golden(inputs, outputs, origin)
            difference = replay_golden(backend, golden, rtol=options.golden_rtol, atol=options.golden_atol)
        except ServingError as error:
            advice = "" if origin == "given" else "; give a V2 inference request that suits it as its example"
            raise invalid(f"the model fails on its {origin} example: {error}{advice}") from error
        if difference:
            raise invalid(f"the model answers one example in two ways: {difference}; set tag shepherd.golden_rtol=inf")
        return Recording(golden, backend.signature)
    finally:
        backend.close()


def record_here(folder: Path, tags: Mapping[str, str], example: bytes | None, reach: Reach) -> Recording:
    """Record for a version's folder and tags, in this process; see `record`."""
    return record(find_model(folder), parse_options(tags), example, reach)


def write_golden(folder: Path, golden: Golden) -> None:
    """Write the example and its answer into a version's folder.

    Raises:
        ServingError: TOO_LARGE, they could not be read again.
    """
    request, response = folder / GOLDEN_REQUEST, folder / GOLDEN_RESPONSE
    request.parent.mkdir(exist_ok=True)
    for path, content in (
        (request, encode_request(golden.inputs)),
        (response, encode_response(golden.outputs)),
    ):
        check_metadata_size(path.name, len(content))
        path.write_bytes(content)


def read_golden(folder: Path, origin: Origin) -> Golden | None:
    """Read the example and its answer from a version's folder; None when it has none.

    Raises:
        ServingError: INVALID, they cannot be read; TOO_LARGE.
    """
    request, response = folder / GOLDEN_REQUEST, folder / GOLDEN_RESPONSE
    if not (request.is_file() and response.is_file()):
        return None
    return Golden(decode_request(read_metadata(request)), decode_response(read_metadata(response)), origin)


def _inputs(files: ModelFiles, signature: Signature, example: bytes | None) -> tuple[tuple[Tensor, ...], Origin]:
    if example is not None:
        inputs = decode_request(example)
        validate_request(signature, InferRequest(inputs))
        return inputs, "given"
    if files.example and (found := inputs_from_mlflow(read_metadata(files.example), signature)):
        return decode_request(encode_request(found)), "given"  # as it will be read back
    return generated_inputs(signature), "synthetic"
