"""Runs ONNX models with onnxruntime: CUDA or TensorRT where asked for or there, the CPU otherwise.

The one module that imports onnxruntime. Models are loaded by path, so that onnxruntime finds external data beside the
file, and itself refuses external data that lies outside the model's folder. Custom-op libraries are never registered.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime

from serving.backends.backend import Array
from serving.backends.onnx_binding import BoundRunner, page_locked
from serving.backends.onnx_providers import (
    CUDA,
    GPU_PROVIDERS,
    Provider,
    check_taken,
    choose_providers,
    provider_options,
)
from serving.backends.onnx_types import OutputForm, decoded_strings, flatten_output, output_form, tensor_spec
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.messages import Signature

_BFLOAT16: Final = 16
"""ONNX `TensorProto.BFLOAT16`, which numpy has no dtype for."""

_LOG_NOTHING_BUT_FATAL: Final = 4
"""Failures are raised to the caller; onnxruntime would also print each to stderr, which clients could flood."""

_UNNAMED_AXIS = re.compile(r"unk__\d+")
"""The symbol that TensorFlow's converter invents for an axis without a name: a different one for each tensor."""

_SOURCE_LINE = re.compile(r"\S+\.(?:cc|h|cu|cuh):\d+ ")


class OnnxOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to run a model."""

    threads: int = 1
    """Threads that one operator may use; 0 lets onnxruntime take every core. Replicas scale better than threads."""
    provider: Provider = "auto"
    gpu_mem_limit_bytes: int = 0
    """Ceiling of the CUDA memory arena; 0 for none."""


class OnnxBackend:
    """One ONNX model in an onnxruntime session; see `Backend` for the contract."""

    def __init__(self, path: Path, options: OnnxOptions | None = None) -> None:
        self._path = path
        self._options = options or OnnxOptions()
        self._session: onnxruntime.InferenceSession | None = None
        self._signature = Signature((), ())
        self._forms: dict[str, OutputForm] = {}
        self._output_names: list[str] = []
        self._text_inputs: tuple[str, ...] = ()
        self._is_plain = True
        self._run: Any = None

    def load(self) -> None:
        """Open the model and read its signature.

        Raises:
            ServingError: INVALID, onnxruntime cannot load the file, or its inputs or outputs have no V2 form.
        """
        session = _open_session(self._path, self._options)
        inputs = tuple(tensor_spec(value.name, value.type, value.shape) for value in session.get_inputs())
        self._forms = {value.name: output_form(value.name, value.type, value.shape) for value in session.get_outputs()}
        self._output_names = list(self._forms)
        self._text_inputs = tuple(spec.name for spec in inputs if spec.datatype == "BYTES")
        self._is_plain = not self._text_inputs and all(form.is_plain for form in self._forms.values())
        outputs = tuple(spec for form in self._forms.values() for spec in form.specs)
        self._signature = Signature(inputs, outputs, "onnxruntime_onnx", _is_batchable(session, self._forms.values()))
        self._run = self._runner(session)
        self._session = session

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; empty before `load`."""
        return self._signature

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model; see `Backend.infer`."""
        if not self._is_plain:
            return self._infer_converted(inputs, outputs)
        names = outputs or self._output_names
        try:
            return dict(zip(names, self._run(names, inputs), strict=True))
        except Exception as error:
            raise _run_failure(error) from error

    def describe(self) -> dict[str, Any]:
        """Say what runs the model and with which settings."""
        session = self._opened()
        metadata = session.get_modelmeta()
        limit = self._options.gpu_mem_limit_bytes
        return {
            "backend": "onnx",
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "provider": session.get_providers()[0].removesuffix("ExecutionProvider").lower(),
            "threads": self._options.threads,
            "producer": metadata.producer_name,
            "model_bytes": self._path.stat().st_size,
            **({"gpu_mem_limit_bytes": limit} if limit else {}),
        }

    def close(self) -> None:
        """Drop the session, which gives its memory back."""
        self._session = None
        self._run = None

    def _runner(self, session: onnxruntime.InferenceSession) -> Any:
        """Choose how to run a session: what BF16 or a GPU needs is a detour for all others."""
        if any(spec.datatype == "BF16" for spec in (*self._signature.inputs, *self._signature.outputs)):
            return _Bfloat16Runner(session, self._signature).run
        if self._is_plain and session.get_providers()[0] in GPU_PROVIDERS:
            return BoundRunner(session, "cuda", page_locked()).run
        return session.run

    def _infer_converted(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run a model with strings, sequences or maps, which differ between onnxruntime and V2."""
        feed = dict(inputs)
        for name in self._text_inputs:
            feed[name] = decoded_strings(name, feed[name])
        wanted = [name for name, form in self._forms.items() if _is_wanted(form, outputs)]
        try:
            values = self._run(wanted, feed)
        except Exception as error:
            raise _run_failure(error) from error
        tensors: dict[str, Array] = {}
        for name, value in zip(wanted, values, strict=True):
            tensors |= flatten_output(self._forms[name], value)
        return {name: tensors[name] for name in outputs} if outputs else tensors

    def _opened(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            raise RuntimeError(f"the model {self._path.name} is not loaded")
        return self._session


class _Bfloat16Runner:
    """Runs a model with BF16 tensors, which travel as their uint16 bit patterns, since numpy has no such type."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self._session = session
        self._bfloat16_inputs = frozenset(spec.name for spec in signature.inputs if spec.datatype == "BF16")

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Run as `InferenceSession.run` does."""
        feed = {name: self._ort_value(name, array) for name, array in inputs.items()}
        return [_array(value) for value in self._session.run_with_ort_values(list(names), feed)]

    def _ort_value(self, name: str, array: Array) -> onnxruntime.OrtValue:
        if name in self._bfloat16_inputs:
            return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _array(value: onnxruntime.OrtValue) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(raw, dtype="<u2").reshape(value.shape())


def _open_session(path: Path, options: OnnxOptions) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _LOG_NOTHING_BUT_FATAL
    # Idle threads that spin would take the cores from the router and the other replicas of this node.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    chosen = choose_providers(options.provider, onnxruntime.get_available_providers())
    if CUDA in chosen:
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN in their Python packages
    providers = [(name, provider_options(name, options.gpu_mem_limit_bytes)) for name in chosen]
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base class
        raise invalid(f"onnxruntime cannot load {path.name}: {_plain_text(error)}") from error
    check_taken(options.provider, session.get_providers())
    return session


def _is_batchable(session: onnxruntime.InferenceSession, forms: Any) -> bool:
    """Tell whether requests may be stacked: all first axes are dynamic, and those of the inputs are one and the same.

    Inputs whose first axes have different names (rows of a query and of a corpus) are not one batch.
    """
    inputs = session.get_inputs()
    dynamic = all(_has_dynamic_first_axis(value.shape) for value in (*inputs, *session.get_outputs()))
    names = {value.shape[0] for value in inputs if value.shape and isinstance(value.shape[0], str)}
    named = {name for name in names if not _UNNAMED_AXIS.fullmatch(name)}
    is_tensors_only = all(form.is_plain or form.values.datatype == "BYTES" for form in forms)
    return bool(inputs) and dynamic and len(named) <= 1 and is_tensors_only


def _has_dynamic_first_axis(shape: Sequence[Any]) -> bool:
    return bool(shape) and not (isinstance(shape[0], int) and shape[0] >= 0)


def _is_wanted(form: OutputForm, outputs: Sequence[str]) -> bool:
    return not outputs or any(spec.name in outputs for spec in form.specs)


def _run_failure(error: Exception) -> ServingError:
    """Tell the inputs' fault from the model's.

    onnxruntime checks inputs before it runs a node, and reports every failure inside one as "while running". An index
    out of a table's range is such a failure: whether the caller or the model is wrong cannot be told, and a canary that
    fails where its sibling does not must count as failing.
    """
    text = _plain_text(error)
    is_input_fault = isinstance(error, ValueError) or "INVALID_ARGUMENT" in str(error)
    if is_input_fault and "while running" not in text:
        return invalid(f"onnxruntime refuses the inputs: {text}")
    return ServingError(ErrorKind.MODEL_FAILED, f"the model failed: {text}")


def _plain_text(error: Exception) -> str:
    """Reduce an onnxruntime message to its sense: no error prefix, no source file of the runtime, one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return " ".join(_SOURCE_LINE.sub("", text).split())
