"""What every tensor must satisfy whatever protocol brought it, checked before anything is allocated. Pure.

Python's integers do not overflow, so a product of hostile dimensions is exact and simply too large. The functions know
nothing of the tensor's place in the request: `located` adds it to the message, on the way out and only on failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from serving.protocol.datatypes import DATATYPES
from serving.protocol.elements import check_framing
from serving.protocol.errors import ErrorKind, ServingError, invalid, too_large
from serving.protocol.messages import Buffer, Limits, Parameter

#: Characters that a tensor's name, or a sequence's, may have: both are kept by routers beyond their request.
MAX_NAME_CHARS: Final = 256

_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1


def located(error: ServingError, place: str) -> ServingError:
    """Name the field at fault: `inputs[0] "X": ` before the message."""
    return ServingError(error.kind, f"{place}: {error.message}")


def check_body_size(size_bytes: int, limits: Limits) -> None:
    """Refuse a body over its limit, before it is parsed."""
    if size_bytes > limits.max_body_bytes:
        raise too_large(f"the body has {size_bytes} bytes, the limit is {limits.max_body_bytes}")


def check_names(field: str, names: Sequence[str], limits: Limits) -> None:
    """Refuse too many tensors, names that are too long, and two of the same name."""
    if len(names) > limits.max_tensors:
        raise too_large(f"{field}: {len(names)} tensors, the limit is {limits.max_tensors}")
    for name in names:
        if len(name) > MAX_NAME_CHARS:
            place = f"{field}[{names.index(name)}].name"
            raise invalid(f"{place}: has {len(name)} characters, the limit is {MAX_NAME_CHARS}")
    if len(names) > 1 and len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise invalid(f'{field}: "{twice}" appears more than once')


def check_datatype(datatype: str) -> None:
    """Refuse a datatype that the protocol does not have."""
    if datatype not in DATATYPES:
        raise invalid(f'datatype "{datatype[:32]}" is not one of {", ".join(DATATYPES)}')


def check_parameters(parameters: dict[str, Parameter]) -> None:
    """Refuse integers beyond 64 bits, which no later stage could carry, and names that only a server may set.

    Sequences are remembered by their ids, which therefore have the bound of names.

    Triton reserves `triton_`; a backend that is one would take such a parameter for the gateway's own word. Clients of
    streams send a single one of them.
    """
    for name, value in parameters.items():
        if name.startswith("triton_") and name != "triton_enable_empty_final_response":
            raise invalid(f'parameters: "{name[:64]}": names that begin with triton_ are reserved')
        if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
            raise invalid(f'parameters: "{name[:64]}" is beyond 64 bits')
    sequence = parameters.get("sequence_id")
    if isinstance(sequence, str) and len(sequence) > MAX_NAME_CHARS:
        raise invalid(f"parameters.sequence_id: has {len(sequence)} characters, the limit is {MAX_NAME_CHARS}")


def refuse_shared_memory(parameters: dict[str, Parameter]) -> None:
    """Refuse the shared-memory extensions: a name from the network must not choose memory of this machine."""
    if "shared_memory_region" in parameters:
        raise ServingError(ErrorKind.UNSUPPORTED, "shared memory is not offered: send the data in the request")


def class_count(value: Parameter) -> int:
    """Check how many classes an output is to be reduced to; 0 asks for the tensor itself."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 31:
        raise invalid("parameters.classification must be a whole number, 0 or more")
    return value


def element_count(shape: Sequence[int], limits: Limits) -> int:
    """Multiply a shape out, within bounds; 1 for rank 0, 0 where any dimension is 0.

    Zero dimensions do not excuse the others: their product is bounded too, since numpy refuses such shapes.
    """
    if len(shape) > limits.max_rank:
        raise too_large(f"shape has rank {len(shape)}, the limit is {limits.max_rank}")
    product, empty = 1, False
    for size in shape:
        if size < 0:
            raise invalid(f"shape {show(shape)} has a negative dimension")
        if size == 0:
            empty = True
            continue
        product *= size
        if product > limits.max_elements:
            raise too_large(f"shape {show(shape)} has more elements than the limit of {limits.max_elements}")
    return 0 if empty else product


def check_raw_data(datatype: str, shape: Sequence[int], data: Buffer, limits: Limits) -> None:
    """Hold raw data to its shape and datatype: size, BYTES framing, BOOL values.

    After it, `Tensor(name, datatype, shape, data)` keeps the promise of `Tensor`.
    """
    check_datatype(datatype)
    count = element_count(shape, limits)
    if datatype == "BYTES":
        check_framing(data, count)
        return
    needed = count * DATATYPES[datatype].itemsize
    if len(data) != needed:
        raise invalid(f"shape {show(shape)} needs {needed} bytes of {datatype} data, got {len(data)}")
    if datatype == "BOOL" and bytes(data).translate(None, b"\x00\x01"):
        raise invalid("BOOL data has a byte other than 0 and 1")


def show(shape: Sequence[int]) -> str:
    """Print a shape as clients write it: `[2,3]`."""
    return f"[{','.join(map(str, shape[:16]))}{',…' if len(shape) > 16 else ''}]"
