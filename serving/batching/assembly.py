"""Jobs to arrays, arrays to results: stack, run, scatter. Pure.

Numeric rows of like shape are already laid out as the stacked tensor wants them, so stacking is one join of raw bytes
and scattering is slicing: no array is made per request. BYTES goes the slow way through object arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from serving.batching.job import Job, Plan
from serving.protocol.arrays import Array, bytes_array, pack_bytes
from serving.protocol.datatypes import DATATYPES, datatype_of
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Buffer, Signature, Tensor
from serving.protocol.packing import Entry, pack_header


def stack(jobs: Sequence[Job]) -> dict[str, Array]:
    """Join the inputs of one lane's jobs along the first axis; a single job's are views, whatever their rank."""
    first = jobs[0].plan
    arrays: dict[str, Array] = {}
    if len(jobs) == 1:
        view = memoryview(jobs[0].data)
        for name, datatype, shape, nbytes in first.entries:
            arrays[name] = _array(datatype, view[:nbytes], shape)
            view = view[nbytes:]
        return arrays
    if len(first.entries) == 1:
        name, datatype, shape, _ = first.entries[0]
        data = b"".join([job.data for job in jobs])
        return {name: _array(datatype, data, (sum([job.plan.rows for job in jobs]), *shape[1:]))}
    rows = sum([job.plan.rows for job in jobs])
    offsets = [0] * len(jobs)
    for index, (name, datatype, shape, _) in enumerate(first.entries):
        pieces = []
        for number, job in enumerate(jobs):
            end = offsets[number] + job.plan.entries[index][3]
            pieces.append(job.data[offsets[number] : end])
            offsets[number] = end
        arrays[name] = _array(datatype, b"".join(pieces), (rows, *shape[1:]))
    return arrays


def _array(datatype: str, data: Buffer, shape: tuple[int, ...]) -> Array:
    if datatype == "BYTES":
        return bytes_array(data, shape)
    return np.frombuffer(data, dtype=DATATYPES[datatype].dtype).reshape(shape)


def bfloat16_outputs(signature: Signature) -> frozenset[str]:
    """Name the outputs that `scatter` must be told of: as arrays they cannot be told from UINT16."""
    return frozenset(spec.name for spec in signature.outputs if spec.datatype == "BF16")


def scatter(plans: Sequence[Plan], outputs: Mapping[str, Array], bfloat16: frozenset[str]) -> list[list[Buffer]]:
    """Cut a run's outputs into one packed answer per plan: header first, then slices of the outputs' memory.

    Args:
        plans: of the requests that were run together.
        outputs: what the backend returned.
        bfloat16: outputs that the signature declares BF16; see `bfloat16_outputs`.

    Raises:
        ServingError: MODEL_FAILED when an output lacks a row for each input row, so that rows cannot be told apart.
    """
    names = plans[0].outputs
    if len(plans) == 1:
        tensors = [_tensor(name, outputs[name], _datatype(name, outputs[name], bfloat16)) for name in names]
        header = pack_header(tuple([(t.name, t.datatype, t.shape, len(t.data)) for t in tensors]))
        return [[header, *[t.data for t in tensors]]]
    rows = sum([plan.rows for plan in plans])
    columns = []
    for name in names:
        array = outputs[name]
        if not array.ndim or array.shape[0] != rows:
            message = f'output "{name}" has shape {list(array.shape)} for a batch of {rows} rows'
            raise ServingError(ErrorKind.MODEL_FAILED, message)
        columns.append((name, _datatype(name, array, bfloat16), array))
    if any(datatype == "BYTES" for _, datatype, _ in columns):
        return _scatter_objects(plans, outputs, bfloat16)
    return _scatter_raw(plans, columns)


def _datatype(name: str, array: Array, bfloat16: frozenset[str]) -> str:
    return "BF16" if name in bfloat16 else datatype_of(array.dtype)


def _tensor(name: str, array: Array, datatype: str) -> Tensor:
    if datatype == "BYTES":
        return Tensor(name, datatype, array.shape, pack_bytes(array))
    return Tensor(name, datatype, array.shape, _raw(array, datatype))


def _raw(array: Array, datatype: str) -> memoryview:
    contiguous = np.ascontiguousarray(array, dtype=DATATYPES[datatype].dtype)
    return contiguous.reshape(-1).view(np.uint8).data


def _scatter_raw(plans: Sequence[Plan], columns: Sequence[tuple[str, str, Array]]) -> list[list[Buffer]]:
    memories = [(_raw(array, datatype), array.nbytes // max(1, array.shape[0])) for _, datatype, array in columns]
    headers: dict[int, bytes] = {}
    packed: list[list[Buffer]] = []
    start = 0
    for plan in plans:
        header = headers.get(plan.rows)
        if header is None:
            entries: tuple[Entry, ...] = tuple(
                (name, datatype, (plan.rows, *array.shape[1:]), plan.rows * step)
                for (name, datatype, array), (_, step) in zip(columns, memories, strict=True)
            )
            header = headers[plan.rows] = pack_header(entries)
        end = start + plan.rows
        packed.append([header, *[memory[start * step : end * step] for memory, step in memories]])
        start = end
    return packed


def _scatter_objects(
    plans: Sequence[Plan], outputs: Mapping[str, Array], bfloat16: frozenset[str]
) -> list[list[Buffer]]:
    packed: list[list[Buffer]] = []
    start = 0
    for plan in plans:
        end = start + plan.rows
        own = {name: outputs[name][start:end] for name in plan.outputs}
        packed += scatter([plan], own, bfloat16)
        start = end
    return packed
