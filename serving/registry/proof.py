"""What a loaded version must show before it may serve: signature, golden answer, batching, latency.

The same checks run in a replica before it becomes ready and in `shepherd model check`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Final

from serving.backends.backend import Array, Backend
from serving.protocol.checks import MAX_NAME_CHARS
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Signature, TensorSpec
from serving.registry.batch_check import mixing_of_rows
from serving.registry.finding import Finding, failed, ok, skipped, warning
from serving.registry.golden import Golden, arrays, replay_golden
from serving.registry.options import ServingOptions

#: MLflow's own loader casts numbers to the width that the graph wants; BF16 travels as UINT16 where numpy names it.
_KINDS: Final = {
    **dict.fromkeys(("FP16", "FP32", "FP64"), "a float"),
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64"), "an integer"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32", "UINT64", "BF16"), "unsigned"),
}
_TIMED_RUNS: Final = 20
_TIMED_S: Final = 2.0


def prove(
    backend: Backend, golden: Golden, options: ServingOptions, declared: Signature | None = None
) -> tuple[Finding, ...]:
    """Hold a loaded backend to what is known of its version; stops at the golden check if that fails.

    Args:
        backend: loaded.
        golden: of the version.
        options: of the version.
        declared: the signature in its `MLmodel`; None when it has none that describes tensors.

    Raises:
        ServingError: UNAVAILABLE, the servers that the version lives on are away.
    """
    signature = check_signature(declared, backend.signature)
    answer = check_answer(backend, golden, options)
    if answer.verdict == "failed":
        return signature, answer
    example = arrays(golden.inputs)
    return signature, answer, check_batching(backend, example, options), check_latency(backend, example, options)


def check_signature(declared: Signature | None, loaded: Signature) -> Finding:
    """Compare the declared signature with that of the loaded graph; a dynamic size fits any, a float any float.

    A tensor whose name no request may carry could never be sent.
    """
    for tensor in (*loaded.inputs, *loaded.outputs):
        if len(tensor.name) > MAX_NAME_CHARS:
            words = f'the name of tensor "{tensor.name[:32]}…" has {len(tensor.name)} characters'
            return failed("signature", words, f"give it a name of at most {MAX_NAME_CHARS}")
    if declared is None:
        return skipped("signature", "MLmodel declares no tensors to compare the graph with")
    for what, ours, theirs in (
        ("input", declared.inputs, loaded.inputs),
        ("output", declared.outputs, loaded.outputs),
    ):
        if ours and (difference := _compare(what, ours, theirs)):
            return failed("signature", difference, "log the model again with the signature of its graph")
    return ok("signature", f"{len(loaded.inputs)} inputs and {len(loaded.outputs)} outputs as declared")


def check_answer(backend: Backend, golden: Golden, options: ServingOptions) -> Finding:
    """Replay the golden example."""
    mend = "if the new answer is right, register the model as a new version with a new example"
    try:
        difference = replay_golden(backend, golden, rtol=options.golden_rtol, atol=options.golden_atol)
    except ServingError as error:
        if error.kind is ErrorKind.UNAVAILABLE:  # a server that is away says nothing of the version
            raise
        return failed("golden", str(error), mend)
    if difference:
        return failed("golden", difference, mend)
    if golden.origin == "given":
        return ok("golden", "answers its example as recorded")
    return warning(
        "golden",
        f"answers as recorded, but the example is {golden.origin}",
        "register versions with `--example REQUEST.json`: inputs generated from the signature are a weaker check",
    )


def check_batching(backend: Backend, example: Mapping[str, Array], options: ServingOptions) -> Finding:
    """See that rows do not depend on their neighbours."""
    if options.max_batch <= 1 or not backend.signature.batchable:
        return skipped("batching", "the version is not batched")
    if not all(array.shape[0] for array in example.values()):
        return skipped("batching", "the golden example has no rows")
    try:
        mixing = mixing_of_rows(backend, example, rtol=options.golden_rtol, atol=options.golden_atol)
    except ServingError as error:
        mixing = str(error)
    if mixing:
        return warning("batching", f"{mixing}: it is served unbatched", "set tag shepherd.max_batch to 1")
    return ok("batching", "a row's answer does not depend on the rows beside it")


def check_latency(backend: Backend, example: Mapping[str, Array], options: ServingOptions) -> Finding:
    """Time the golden example; the median, since a busy neighbour must not refuse a model."""
    timings: list[float] = []
    began = time.perf_counter()
    while len(timings) < _TIMED_RUNS and time.perf_counter() - began < _TIMED_S:
        started = time.perf_counter()
        backend.infer(example, ())
        timings.append(1e3 * (time.perf_counter() - started))
        if not options.latency_budget_ms:
            break
    median_ms = statistics.median(timings)
    if not options.latency_budget_ms:
        return skipped("latency", f"one run took {median_ms:.2f} ms; tag shepherd.latency_budget_ms sets no budget")
    seen = f"median of {len(timings)} runs is {median_ms:.2f} ms, the budget {options.latency_budget_ms:g} ms"
    if median_ms > options.latency_budget_ms:
        return failed("latency", seen, "make the model faster, or raise tag shepherd.latency_budget_ms")
    return ok("latency", seen)


def _compare(what: str, declared: tuple[TensorSpec, ...], loaded: tuple[TensorSpec, ...]) -> str | None:
    found = {spec.name: spec for spec in loaded}
    for spec in declared:
        # MLflow lets the only tensor of a model go without a name.
        actual = found.get(spec.name) if spec.name or len(loaded) > 1 else loaded[0]
        if actual is None:
            return f"{what} '{spec.name}' is declared, but the graph has {', '.join(found) or 'none'}"
        if _kind(actual.datatype) != _kind(spec.datatype):
            return f"{what} '{actual.name}' is declared {spec.datatype}, but is {actual.datatype} in the graph"
        if not _fits(spec.shape, actual.shape):
            return f"{what} '{actual.name}' is declared {list(spec.shape)}, but is {list(actual.shape)} in the graph"
    if what == "input" and (missing := found.keys() - {spec.name for spec in declared}) and len(loaded) > 1:
        return f"the graph's input '{min(missing)}' is not declared"
    return None


def _kind(datatype: str) -> str:
    return _KINDS.get(datatype, datatype)


def _fits(declared: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    return len(declared) == len(actual) and all(
        one == other or one < 0 or other < 0 for one, other in zip(declared, actual, strict=True)
    )
