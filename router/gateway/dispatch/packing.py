"""What of a request goes to a replica: its tensors, and the parameters that a model must see."""

from __future__ import annotations

from typing import Final

from router.gateway.dispatch.call import Call
from serving.channel.frames import MAX_BODY_BYTES, pack_extra
from serving.protocol.errors import too_large
from serving.protocol.messages import InferRequest
from serving.protocol.packing import pack_tensors

#: Protocol parameters that models must see; the rest stays with the gateway.
_MODEL_PARAMETERS: Final = frozenset({"sequence_id", "sequence_start", "sequence_end"})


def pack(call: Call, request: InferRequest) -> None:
    """Make what goes to a replica.

    Raises:
        ServingError: TOO_LARGE where it does not fit into a frame.
    """
    if request.outputs or request.parameters:
        call.extra = pack_extra(
            tuple([output.name for output in request.outputs]),
            {name: value for name, value in request.parameters.items() if name in _MODEL_PARAMETERS},
        )
    packed = pack_tensors(request.inputs)
    if len(packed) + len(call.extra) > MAX_BODY_BYTES:
        raise too_large(f"inputs: {len(packed)} bytes as tensors, the limit is {MAX_BODY_BYTES}")
    call.packed = packed
