"""Checks a request against a model's signature, compiled once per signature. Pure.

The compiled check only decides; which field is wrong is worked out when one is, off the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from serving.protocol.errors import ServingError, invalid
from serving.protocol.messages import InferRequest, Signature, Tensor, TensorSpec

Validator = Callable[[InferRequest], None]
"""Returns for a request that fits, raises `ServingError(INVALID)` for one that does not."""


def compile_validator(signature: Signature) -> Validator:
    """Build the check of requests against `signature`.

    A request passes when it gives every input once, with the declared datatype, rank and fixed dimensions, and asks
    only for outputs that exist. The check raises `ServingError(INVALID)` that names the field, what it is and what the
    model takes.
    """
    checks = {spec.name: _input_check(spec) for spec in signature.inputs}
    output_names = frozenset(spec.name for spec in signature.outputs)

    def fits(request: InferRequest) -> bool:
        inputs = request.inputs
        if len(inputs) != len(checks):
            return False
        for tensor in inputs:
            check = checks.get(tensor.name)
            if check is None or not check(tensor):
                return False
        if len(inputs) > 1 and len({tensor.name for tensor in inputs}) != len(inputs):
            return False
        return not request.outputs or all(output.name in output_names for output in request.outputs)

    def validate(request: InferRequest) -> None:
        if not fits(request):
            raise _explain(signature, request)

    return validate


def validate_request(signature: Signature, request: InferRequest) -> None:
    """Check one request, where a compiled check is not at hand; raises as `compile_validator` says."""
    compile_validator(signature)(request)


def _input_check(spec: TensorSpec) -> Callable[[Tensor], bool]:
    datatype, rank, fixed = spec.datatype, len(spec.shape), _fixed_axes(spec)

    def check(tensor: Tensor) -> bool:
        shape = tensor.shape
        if tensor.datatype != datatype or len(shape) != rank:
            return False
        for axis, size in fixed:  # noqa: SIM110 - a generator would cost as much as the rest of the check
            if shape[axis] != size:
                return False
        return True

    return check


def _fixed_axes(spec: TensorSpec) -> tuple[tuple[int, int], ...]:
    return tuple((axis, size) for axis, size in enumerate(spec.shape) if size >= 0)


def _explain(signature: Signature, request: InferRequest) -> ServingError:
    """Name the first fault of a request known to have one."""
    specs = {spec.name: spec for spec in signature.inputs}
    seen: set[str] = set()
    for tensor in request.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            return invalid(f"input '{tensor.name}' is unknown; the model takes {_listing(signature.inputs)}")
        if tensor.name in seen:
            return invalid(f"input '{tensor.name}' is given twice")
        seen.add(tensor.name)
        fault = _input_fault(tensor, spec)
        if fault:
            return invalid(fault)
    for name, spec in specs.items():
        if name not in seen:
            return invalid(f"input '{name}' is missing; the model takes it as {spec.datatype} {list(spec.shape)}")
    known = {spec.name for spec in signature.outputs}
    unknown = next(output.name for output in request.outputs if output.name not in known)
    return invalid(f"output '{unknown}' is unknown; the model gives {_listing(signature.outputs)}")


def _input_fault(tensor: Tensor, spec: TensorSpec) -> str:
    if tensor.datatype != spec.datatype:
        return f"input '{tensor.name}' has datatype {tensor.datatype}; the model takes {spec.datatype}"
    if not _input_check(spec)(tensor):
        shapes = f"has shape {list(tensor.shape)}; the model takes {list(spec.shape)}"
        return f"input '{tensor.name}' {shapes} (-1: any size)"
    return ""


def _listing(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"'{spec.name}' {spec.datatype} {list(spec.shape)}" for spec in specs) or "none"
