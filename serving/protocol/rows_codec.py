"""Inference without V2's tensors: V1 `:predict` (TF Serving, KServe) and MLflow's `/invocations`. Pure.

The formats name no datatypes and not always the inputs: both come from the signature of the version that answers.

- `instances`: one entry for each row, a value for a model of one input, an object by input name otherwise.
- `inputs`: the whole tensors, by input name, or the bare one of a model of one input.
- `dataframe_split` (`columns`, `data`) and `dataframe_records`: a column for each input; or, for a model whose one
  input has two axes, all columns side by side in the order given.

Answers mirror the format of the request: V1 has `predictions` for rows and `outputs` for columns, MLflow has
`predictions` for all. A single output stands bare, several stand by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from serving.protocol.checks import check_body_size, check_parameters, located
from serving.protocol.errors import ServingError, invalid
from serving.protocol.messages import Buffer, Limits, Parameter, Signature, Tensor, TensorSpec
from serving.protocol.nested_data import print_nested, read_nested


class Layout(Enum):
    """How a request's values are arranged, and so its answer's."""

    ROWS = "instances"
    COLUMNS = "inputs"
    FRAME = "dataframe_split"
    RECORDS = "dataframe_records"


class RowsRequest(NamedTuple):
    """A parsed body, before the model that it is for is known."""

    layout: Layout
    value: Any
    parameters: dict[str, Parameter]


_V1: Final = (Layout.ROWS, Layout.COLUMNS)
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


def parse_v1(body: Buffer, limits: Limits) -> RowsRequest:
    """Parse the body of `:predict`; `signature_name` may only be the default one.

    Raises:
        ServingError: INVALID or TOO_LARGE.
    """
    document = _parse(body, limits)
    if document.get("signature_name", "serving_default") not in ("serving_default", ""):
        raise invalid("signature_name: models have one signature here, serving_default")
    return _pick(document, _V1, {})


def parse_invocation(body: Buffer, limits: Limits) -> RowsRequest:
    """Parse the body of `/invocations`; its `params` become request parameters.

    Raises:
        ServingError: INVALID or TOO_LARGE.
    """
    document = _parse(body, limits)
    try:
        parameters = msgspec.convert(document.get("params") or {}, dict[str, Parameter])
    except msgspec.ValidationError as error:
        raise invalid(f"params: {error}") from None
    check_parameters(parameters)
    return _pick(document, tuple(Layout), parameters)


def read_tensors(request: RowsRequest, signature: Signature, limits: Limits) -> tuple[Tensor, ...]:
    """Make the tensors that a signature declares.

    Raises:
        ServingError: INVALID or TOO_LARGE, naming the input.
    """
    place = request.layout.value
    columns = _columns(request, signature)
    tensors = []
    for spec in signature.inputs:
        if spec.name not in columns:
            raise invalid(f'{place}: input "{spec.name}" is missing')
        try:
            tensors.append(read_nested(spec, columns.pop(spec.name), limits))
        except ServingError as error:
            raise located(error, f'{place} "{spec.name}"') from None
    if columns:
        raise invalid(f'{place}: "{next(iter(columns))[:64]}" is no input of the model')
    return tuple(tensors)


def print_predictions(layout: Layout, outputs: Sequence[Tensor]) -> bytes:
    """Print a V1 answer.

    Raises:
        ServingError: INVALID when outputs cannot be told apart row by row, as `instances` needs it.
    """
    if layout is Layout.COLUMNS:
        return msgspec.json.encode({"outputs": _bare_or_named(outputs)})
    if len(outputs) == 1:
        return msgspec.json.encode({"predictions": print_nested(outputs[0])})
    return msgspec.json.encode({"predictions": _rows(outputs)})


def print_invocation(layout: Layout, outputs: Sequence[Tensor]) -> bytes:
    """Print an MLflow answer: records for data frames, whole tensors otherwise."""
    is_frame = layout in {Layout.FRAME, Layout.RECORDS} and len(outputs) > 1
    return msgspec.json.encode({"predictions": _rows(outputs) if is_frame else _bare_or_named(outputs)})


def _parse(body: Buffer, limits: Limits) -> dict[str, Any]:
    check_body_size(len(body), limits)
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"body: {error}") from None
    except RecursionError:
        raise invalid("body: the JSON is nested too deeply") from None


def _pick(document: dict[str, Any], layouts: Sequence[Layout], parameters: dict[str, Parameter]) -> RowsRequest:
    given = [layout for layout in layouts if layout.value in document]
    if len(given) != 1:
        names = ", ".join(layout.value for layout in layouts)
        raise invalid(f"body: must have exactly one of {names}")
    return RowsRequest(given[0], document[given[0].value], parameters)


def _columns(request: RowsRequest, signature: Signature) -> dict[str, Any]:
    """Arrange the values by input."""
    layout, value = request.layout, request.value
    if layout is Layout.COLUMNS:
        only = _only(signature)
        if isinstance(value, dict) and not (only and only.datatype == "BYTES" and "b64" in value):
            return dict(value)
        return {_only_name(signature, layout): value}
    if layout is Layout.ROWS:
        return _columns_of_rows(value, signature)
    names, rows = _frame(request)
    if _only(signature) and len(signature.inputs[0].shape) == 2 and names != [signature.inputs[0].name]:
        return {signature.inputs[0].name: rows}
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _columns_of_rows(rows: Any, signature: Signature) -> dict[str, Any]:
    place = Layout.ROWS.value
    if not isinstance(rows, list):
        raise invalid(f"{place}: must be a list")
    names = [spec.name for spec in signature.inputs]
    if len(names) == 1 and not (rows and isinstance(rows[0], dict) and names[0] in rows[0]):
        return {names[0]: rows}
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != columns.keys():
            raise invalid(f"{place}[{index}]: must be an object with the inputs {', '.join(names)}")
        for name, value in row.items():
            columns[name].append(value)
    return dict(columns)


def _frame(request: RowsRequest) -> tuple[list[str], list[Sequence[Any]]]:
    """Take a data frame apart into column names and rows."""
    names: Any
    place, value = request.layout.value, request.value
    if request.layout is Layout.RECORDS:
        if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
            raise invalid(f"{place}: must be a list of objects, at least one")
        names = list(value[0])
        if any(row.keys() != value[0].keys() for row in value):
            raise invalid(f"{place}: all records must have the same columns")
        return names, [[row[name] for name in names] for row in value]
    names = value.get("columns") if isinstance(value, dict) else None
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(names, list) or not isinstance(rows, list) or not all(isinstance(name, str) for name in names):
        raise invalid(f"{place}: must be an object with columns, a list of names, and data, a list of rows")
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise invalid(f"{place}.data[{index}]: must be a list of {len(names)} values")
    return names, rows


def _only(signature: Signature) -> TensorSpec | None:
    return signature.inputs[0] if len(signature.inputs) == 1 else None


def _only_name(signature: Signature, layout: Layout) -> str:
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise invalid(f"{layout.value}: must be an object with the inputs {names}")
    return signature.inputs[0].name


def _bare_or_named(outputs: Sequence[Tensor]) -> Any:
    if len(outputs) == 1:
        return print_nested(outputs[0])
    return {tensor.name: print_nested(tensor) for tensor in outputs}


def _rows(outputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    sizes = {tensor.shape[0] if tensor.shape else -1 for tensor in outputs}
    if len(sizes) != 1 or -1 in sizes:
        raise invalid("the model's outputs have no rows in common: ask in the format `inputs`")
    printed = {tensor.name: print_nested(tensor) for tensor in outputs}
    return [{name: values[index] for name, values in printed.items()} for index in range(sizes.pop())]
