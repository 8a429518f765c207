"""From a settled call to the answer that its door encodes."""

from __future__ import annotations

from router.gateway.dispatch.call import Call
from serving.protocol.classification import classify
from serving.protocol.messages import InferRequest, InferResponse, Tensor
from serving.protocol.packing import unpack_tensors


def response_of(call: Call) -> InferResponse:
    """Unpack a call's outputs, as its request wants them.

    Raises:
        ServingError: INVALID when an output cannot be had in the form asked for.
    """
    request, decision = call.request, call.decision
    assert request is not None and decision is not None, "only a decided call has outputs"
    outputs = unpack_tensors(call.outputs)
    if request.outputs:
        counts = {output.name: output.class_count for output in request.outputs if output.class_count}
        if counts:
            outputs = tuple([_reduced(tensor, counts.get(tensor.name, 0)) for tensor in outputs])
    return InferResponse(call.model, str(decision.version), outputs, request.id)


def wants_classes(request: InferRequest) -> bool:
    """Tell whether any output is to be reduced to its best classes."""
    return bool(request.outputs) and any(output.class_count for output in request.outputs)


def _reduced(tensor: Tensor, class_count: int) -> Tensor:
    return classify(tensor, class_count) if class_count else tensor
