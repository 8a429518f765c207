"""Runs a session by IO binding, from page-locked memory where a GPU is: the way to it is a copy by the device itself.

A plain `run` hands over pageable memory, which the CUDA driver first copies to a page-locked buffer of its own, piece
by piece. Here each input is written once into a buffer that is kept for the next run, and that the device reads from.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.backends.backend import Array

Memory = npt.NDArray[np.uint8]
Allocate = Callable[[int], Memory]
"""Lend memory of a size in bytes; it is given back when the array is gone."""

#: Sizes of buffers are powers of two from here on, so that growing batches allocate seldom.
_LEAST_BYTES: Final = 4096
_CUDA_RUNTIMES: Final = ("libcudart.so.13", "libcudart.so.12")


class _BindingSlot:
    """A binding of a session and the buffers of its inputs: what one run at a time needs."""

    def __init__(self, session: Any, allocate: Allocate) -> None:
        self.binding = session.io_binding()
        self._allocate = allocate
        self._buffers: dict[str, Memory] = {}

    def staged(self, name: str, array: Array) -> Array:
        """Copy an input into its buffer, which grows when it has to."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < array.nbytes:
            size = max(_LEAST_BYTES, 1 << math.ceil(math.log2(max(1, array.nbytes))))
            buffer = self._buffers[name] = self._allocate(size)
        staged = buffer[: array.nbytes].view(array.dtype).reshape(array.shape)
        np.copyto(staged, array)
        return staged


class BoundRunner:
    """Runs one session, from any number of threads; it holds as many sets of buffers as there were runs at once."""

    def __init__(self, session: Any, device: str = "cpu", allocate: Allocate | None = None) -> None:
        """Take a session of plain tensors.

        Args:
            session: an `onnxruntime.InferenceSession` without strings, sequences and maps.
            device: where outputs are made, `cpu` or `cuda`.
            allocate: makes the buffers of inputs; None takes ordinary memory.
        """
        self._session = session
        self._device = device
        self._allocate = allocate or pageable
        self._free: deque[_BindingSlot] = deque([_BindingSlot(session, self._allocate)])

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Run as `InferenceSession.run` does; the answer is the caller's to keep."""
        try:
            desk = self._free.pop()
        except IndexError:  # another thread runs too, and what it has put there must stay as it is
            desk = _BindingSlot(self._session, self._allocate)
        binding = desk.binding
        try:
            for name, array in inputs.items():
                binding.bind_cpu_input(name, desk.staged(name, array))
            for name in names:
                binding.bind_output(name, self._device)
            self._session.run_with_iobinding(binding)
            return list(binding.copy_outputs_to_cpu())
        finally:
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()
            self._free.append(desk)


def pageable(size: int) -> Memory:
    """Lend ordinary memory."""
    return np.empty(size, np.uint8)


def page_locked() -> Allocate:
    """Find out how to lend memory that a GPU reads by itself; ordinary memory where there is no CUDA runtime."""
    runtime = _cuda_runtime()
    if runtime is None:
        return pageable

    def allocate(size: int) -> Memory:
        address = ctypes.c_void_p()
        if runtime.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0)) or not address.value:
            return pageable(size)  # page-locked memory is scarce; without it a run is slower, not wrong
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address.value))
        weakref.finalize(memory, runtime.cudaFreeHost, ctypes.c_void_p(address.value))
        return memory

    return allocate


def _cuda_runtime() -> ctypes.CDLL | None:
    """Find the CUDA runtime that onnxruntime has loaded into this process."""
    for name in _CUDA_RUNTIMES:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None
