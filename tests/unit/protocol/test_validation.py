"""Requests are checked against a model's signature before they reach it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import InferRequest, RequestedOutput, Signature, Tensor, TensorSpec
from serving.protocol.validation import compile_validator, validate_request

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)), TensorSpec("factor", "INT64", ())),
    outputs=(TensorSpec("y", "FP32", (-1, 2)),),
)
X = Tensor("x", "FP32", (1, 2), bytes(8))
FACTOR = Tensor("factor", "INT64", (), bytes(8))


def fault(*inputs: Tensor, outputs: tuple[str, ...] = ()) -> str:
    request = InferRequest(inputs, tuple(RequestedOutput(name) for name in outputs))
    with pytest.raises(ServingError) as caught:
        validate_request(SIGNATURE, request)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value.message


def test_a_request_that_fits_passes() -> None:
    """All inputs once, declared datatypes, fixed sizes kept, any size where the signature says -1, in any order."""
    validate = compile_validator(SIGNATURE)

    validate(InferRequest((X, FACTOR)))
    validate(InferRequest((FACTOR, Tensor("x", "FP32", (0, 2), b"")), (RequestedOutput("y"),)))


def test_an_unknown_input_is_named_with_what_the_model_takes() -> None:
    """The answer to a typo lists the right names."""
    message = fault(X, Tensor("faktor", "INT64", (), bytes(8)))

    assert message == "input 'faktor' is unknown; the model takes 'x' FP32 [-1, 2], 'factor' INT64 []"


def test_a_missing_input_is_named() -> None:
    """Every input of the signature is required."""
    assert fault(X) == "input 'factor' is missing; the model takes it as INT64 []"


def test_an_input_given_twice_is_refused() -> None:
    """Two tensors of one name leave open which is meant, also when their count is right."""
    assert fault(X, X) == "input 'x' is given twice"


def test_a_wrong_datatype_says_which_and_which_not() -> None:
    """Nothing is converted silently: a client that sends doubles should know."""
    message = fault(Tensor("x", "FP64", (1, 2), bytes(16)), FACTOR)

    assert message == "input 'x' has datatype FP64; the model takes FP32"


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 2, 1), ()])
def test_a_wrong_shape_says_which_and_which_not(shape: tuple[int, ...]) -> None:
    """Rank and fixed dimensions must agree."""
    message = fault(Tensor("x", "FP32", shape, bytes(4 * math.prod(shape))), FACTOR)

    assert message == f"input 'x' has shape {list(shape)}; the model takes [-1, 2] (-1: any size)"


def test_an_unknown_output_is_named_with_what_the_model_gives() -> None:
    """Asking for an output that does not exist is the request's fault."""
    assert fault(X, FACTOR, outputs=("y", "z")) == "output 'z' is unknown; the model gives 'y' FP32 [-1, 2]"


def test_a_model_without_inputs_takes_requests_without_inputs() -> None:
    """The signature alone decides how many inputs there are."""
    validate_request(Signature((), (TensorSpec("y", "FP32", (1,)),)), InferRequest(()))


names = st.sampled_from(["a", "b", "c"])
datatypes = st.sampled_from(["FP32", "INT64"])
specs = st.builds(TensorSpec, names, datatypes, st.lists(st.integers(-1, 3), max_size=3).map(tuple))
tensors = st.builds(Tensor, names, datatypes, st.lists(st.integers(0, 3), max_size=3).map(tuple), st.just(b""))


@given(
    st.lists(specs, max_size=3, unique_by=lambda spec: spec.name).map(tuple),
    st.lists(tensors, max_size=3).map(tuple),
)
def test_the_compiled_check_agrees_with_the_rule_spelt_out(
    inputs: tuple[TensorSpec, ...], given_tensors: tuple[Tensor, ...]
) -> None:
    """A request passes exactly when it gives each declared input once and each fits; else there is an explanation."""
    declared = {spec.name: spec for spec in inputs}
    fits = sorted(tensor.name for tensor in given_tensors) == sorted(declared) and all(
        tensor.datatype == declared[tensor.name].datatype
        and len(tensor.shape) == len(declared[tensor.name].shape)
        and all(want in (-1, got) for want, got in zip(declared[tensor.name].shape, tensor.shape, strict=True))
        for tensor in given_tensors
    )

    request = InferRequest(given_tensors)

    if fits:
        validate_request(Signature(inputs, ()), request)
    else:
        with pytest.raises(ServingError) as caught:
            validate_request(Signature(inputs, ()), request)
        assert caught.value.kind is ErrorKind.INVALID
        assert caught.value.message
