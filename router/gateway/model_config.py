"""Triton's model configuration of a version, derived from its signature. Pure.

Clients read it to learn shapes without the batch axis and whether requests may be batched. We bound a request's rows by
its size alone, so `max_batch_size` only tells "batches" from "does not batch".
"""

from __future__ import annotations

from typing import Any, Final

from serving.protocol.messages import Signature, TensorSpec

#: More rows than any request of ordinary tensors has.
MAX_BATCH_SIZE: Final = 65_536


def model_config(model: str, signature: Signature, versions: list[int]) -> dict[str, Any]:
    """Describe a version in the JSON form of `ModelConfig`."""
    backend = signature.platform.partition("_")[0]
    config: dict[str, Any] = {
        "name": model,
        "platform": signature.platform,
        "backend": backend,
        "version_policy": {"specific": {"versions": versions}},
        "max_batch_size": MAX_BATCH_SIZE if signature.batchable else 0,
        "input": [_describe(spec, batched=signature.batchable) for spec in signature.inputs],
        "output": [_describe(spec, batched=signature.batchable) for spec in signature.outputs],
    }
    if signature.batchable:
        config["dynamic_batching"] = {}
    return config


def _describe(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    data_type = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    return {"name": spec.name, "data_type": data_type, "dims": list(spec.shape[1:] if batched else spec.shape)}
