"""Which versions may share a process with others: by their tag `shepherd.host`, and by what they are. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from serving.registry.options import AUTO, ServingOptions

HostChoice = Literal["own", "auto"]


class SharingRules(msgspec.Struct, frozen=True):
    """What a gateway allows."""

    default: HostChoice = "own"
    """For versions without the tag."""
    auto_max_bytes: int = 16 * 1024**2
    """Largest model that `auto` lets share."""


def why_own(options: ServingOptions, model_bytes: int, rules: SharingRules) -> str | None:
    """Say why a version has a process of its own; None when it is to be a guest of a shared host.

    Args:
        options: of the version; one that asks for what a shared host cannot give has been refused when it was parsed.
        model_bytes: size of its files.
        rules: of the gateway.
    """
    choice = options.host or rules.default
    if choice == "own":
        return "it asks for it" if options.host else "setting host_default is own"
    if choice == "shared":
        return None
    if model_bytes > rules.auto_max_bytes:
        return f"its files have {model_bytes} bytes, more than host_auto_max_bytes"
    return _obstacle(options)


def _obstacle(options: ServingOptions) -> str | None:
    """Say what `auto` finds against sharing: more than one core, a device, or a runtime that is none of ours."""
    if options.backend != "onnx":
        return f"its backend is {options.backend}"
    if options.provider not in {"auto", "cpu"} or options.gpu_share:
        return "it runs on a GPU"
    if options.max_replicas > 1:
        return f"it may have {options.max_replicas} replicas"
    if options.threads not in {1, AUTO}:
        return "its operators use several threads"
    return None
