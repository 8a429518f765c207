"""Hides parts of a record's payload before it is written. Pure.

In doubt more is hidden: a text that should be JSON and is not is hidden whole, a tensor of numbers whose texts should
be cut short is dropped, and a payload that cannot be read at all is left out.

Hashes are keyed (HMAC-SHA-256, 128 bits): without the key nobody finds an address by hashing all addresses.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from router.requestlog.features import PREFIX
from router.requestlog.record import Feature
from router.requestlog.rules import EVERY_MODEL, LogRule, Redaction, Step
from serving.protocol.arrays import to_array, to_tensor
from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer, Tensor
from serving.protocol.packing import pack_tensors, unpack_tensors

_HASH_BYTES: Final = 16
_GONE: Final = object()

Hide = Callable[[Any], Any]
"""From a value to what is kept of it, or `_GONE`."""


class Redactor:
    """What one model's rule does to its records."""

    def __init__(self, rule: LogRule, key: bytes) -> None:
        self.rule = rule
        self._key = key
        self._by_tensor: dict[str, list[Redaction]] = {}
        for redaction in rule.redact:
            self._by_tensor.setdefault(redaction.tensor, []).append(redaction)

    def payload(self, packed: Buffer) -> bytes | None:
        """Hide what the rule says in packed tensors; None when they cannot be read and so must not be kept."""
        if not packed or not self._by_tensor:
            return bytes(packed)
        try:
            kept = [done for tensor in unpack_tensors(packed) if (done := self._tensor(tensor)) is not None]
            return pack_tensors(kept)
        except (ServingError, ValueError, KeyError, RecursionError):
            return None

    def features(self, features: Mapping[str, Feature]) -> dict[str, Feature]:
        """Hide what the rule says of looked-up features, which it names as `feature.<name>`."""
        kept: dict[str, Feature] = {}
        for name, value in features.items():
            hidden: Any = value
            for redaction in self._by_tensor.get(PREFIX + name, ()):
                hidden = self._redact_feature(hidden, redaction) if hidden is not _GONE else hidden
            if hidden is not _GONE:
                kept[name] = hidden
        return kept

    def sticky_key(self, key: str) -> str:
        """Hide the sticky key as the rule says."""
        if self.rule.key == "keep" or not key:
            return key
        return self._hash(key.encode("utf-8", "replace")).decode() if self.rule.key == "hash" else ""

    def _tensor(self, tensor: Tensor) -> Tensor | None:
        done: Tensor | None = tensor
        for redaction in self._by_tensor.get(tensor.name, ()):
            done = self._redact(done, redaction) if done is not None else None
        return done

    def _redact(self, tensor: Tensor, redaction: Redaction) -> Tensor | None:
        texts = tensor.datatype == "BYTES"
        if not redaction.path and redaction.action == "drop":
            return None
        if not texts and (redaction.path or redaction.action == "truncate"):
            return None
        elements = to_array(tensor)
        hidden = np.empty(elements.size, dtype=object)
        hide = self._hiding(redaction)
        if redaction.path:
            hidden[:] = [_hide_in_json(element, redaction.steps, hide) for element in elements.ravel().tolist()]
        elif texts:
            hidden[:] = [hide(element) for element in elements.ravel().tolist()]
        else:
            hidden[:] = [self._hash(element.tobytes()) for element in elements.ravel()]
        return to_tensor(tensor.name, hidden.reshape(tensor.shape), "BYTES")

    def _redact_feature(self, value: Feature, redaction: Redaction) -> Any:
        if not redaction.path:
            return self._hiding(redaction)(value)
        if not isinstance(value, str):
            return _GONE
        return _hide_in_json(value.encode("utf-8", "replace"), redaction.steps, self._hiding(redaction)).decode()

    def _hiding(self, redaction: Redaction) -> Hide:
        """Make the function that hides a value: bytes of a tensor, or something inside a JSON text."""

        def cut(value: Any) -> Any:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            return text[: redaction.length] if isinstance(text, str) else _GONE

        def hashed(value: Any) -> Any:
            if isinstance(value, bytes):
                return self._hash(value)
            raw = value.encode() if isinstance(value, str) else msgspec.json.encode(value, order="sorted")
            return self._hash(raw).decode()

        return {"drop": lambda _: _GONE, "hash": hashed, "truncate": cut}[redaction.action]

    def _hash(self, value: bytes) -> bytes:
        return hmac.digest(self._key, value, "sha256")[:_HASH_BYTES].hex().encode()


class Redactors:
    """The redactor of each model, made once."""

    def __init__(self, rules: Mapping[str, LogRule], key: bytes) -> None:
        self._of = {model: Redactor(rule, key) for model, rule in rules.items()}
        self._other = self._of.get(EVERY_MODEL)

    def of(self, model: str) -> Redactor | None:
        """Return what is to be done for a model, None for nothing."""
        return self._of.get(model, self._other)


def _hide_in_json(element: bytes, steps: Sequence[Step], hide: Hide) -> bytes:
    try:
        document = msgspec.json.decode(element)
        return msgspec.json.encode(_at(document, steps, hide))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
        return b""


def _at(value: Any, steps: Sequence[Step], hide: Hide) -> Any:
    """Hide what lies at the end of a path; what it does not meet stays. A dropped place in a list becomes null."""
    if not steps:
        return hide(value)
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict) and isinstance(step, str) and step in value:
        inner = _at(value[step], rest, hide)
        return {
            name: inner if name == step else kept for name, kept in value.items() if name != step or inner is not _GONE
        }
    if isinstance(value, list) and not isinstance(step, str):
        hidden = [_at(each, rest, hide) if step in (None, place) else each for place, each in enumerate(value)]
        return [None if each is _GONE else each for each in hidden]
    return value
