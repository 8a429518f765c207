"""What clients send back about requests that were answered: the truth, and what came of it. Pure.

A label says what the right answer was, an outcome what the answer led to (a purchase, minutes, a score). Both name the
request by the id that the gateway gave back in `x-shepherd-request-id`. They are read entry by entry: one wrong entry
among many is refused by its place and field, and the others are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

from serving.protocol.errors import ServingError, invalid, too_large

MAX_LABELS: Final = 1000
"""In one message: decoding them holds up a router's loop for less than a millisecond or two."""
MAX_BODY_BYTES: Final = 1 << 20
MAX_ROWS: Final = 4096
MAX_TEXT: Final = 1024
MAX_ID: Final = 256
_MAX_INTEGER: Final = 1 << 63
_FIELDS: Final = frozenset({"request_id", "label", "outcome"})

LabelValue = bool | int | float | str
"""Of one row."""


class Label(msgspec.Struct, frozen=True, gc=False):
    """What is known of one request afterwards: a label, an outcome, or both."""

    request_id: str
    label: LabelValue | tuple[LabelValue, ...] | None = None
    """A value, or one for each row of the request, in the order of its rows."""
    outcome: float | None = None


class Mistake(msgspec.Struct, frozen=True, gc=False):
    """Why an entry was refused."""

    index: int
    field: str
    error: str


class Feedback(NamedTuple):
    """A message of labels, read."""

    labels: tuple[Label, ...]
    mistakes: tuple[Mistake, ...]


def read_feedback(body: bytes | memoryview) -> Feedback:
    """Read one entry (`{"request_id", "label"}`) or several (`{"labels": [...]}`).

    Raises:
        ServingError: TOO_LARGE; INVALID for a message that is none. An entry that is wrong raises nothing.
    """
    if len(body) > MAX_BODY_BYTES:
        raise too_large(f"feedback of {len(body)} bytes; at most {MAX_BODY_BYTES} go into one message")
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid(f"body: {error}") from None
    entries = [members]
    if "labels" in members:
        if len(members) > 1 or not isinstance(members["labels"], list):
            raise invalid("labels: must be a list, and the only member")
        entries = members["labels"]
    return read_entries(entries)


def read_entries(entries: Sequence[object]) -> Feedback:
    """Read entries, each as decoded JSON.

    Raises:
        ServingError: INVALID when there are none, TOO_LARGE when there are too many.
    """
    if not entries:
        raise invalid("labels: is empty")
    if len(entries) > MAX_LABELS:
        raise too_large(f"labels: {len(entries)} in one message; at most {MAX_LABELS}, send the rest in the next")
    labels, mistakes = [], []
    for index, entry in enumerate(entries):
        try:
            labels.append(read_label(entry))
        except _Wrong as wrong:
            mistakes.append(Mistake(index, wrong.field, wrong.error))
    return Feedback(tuple(labels), tuple(mistakes))


def read_label(entry: object) -> Label:
    """Read one entry; raises `ServingError` (INVALID) that names the field."""
    if not isinstance(entry, dict):
        raise _Wrong("", "must be an object with request_id and label")
    for name in entry.keys() - _FIELDS:
        raise _Wrong(str(name)[:64], f"is unknown; known are {', '.join(sorted(_FIELDS))}")
    label, outcome = entry.get("label"), entry.get("outcome")
    if label is None and outcome is None:
        raise _Wrong("label", "is missing, and so is outcome")
    return Label(_request_id(entry), None if label is None else _label(label), _outcome(outcome))


def encode_label_value(label: Label) -> bytes:
    """Write a label's value as JSON, as the stream of labels holds it."""
    value: bytes = msgspec.json.encode(label.label)
    return value


class _Wrong(ServingError):
    """One field of an entry is wrong."""

    def __init__(self, field: str, error: str) -> None:
        super().__init__(invalid("").kind, f"{field}: {error}")
        self.field = field
        self.error = error


def _request_id(entry: Mapping[str, Any]) -> str:
    value = entry.get("request_id")
    if not isinstance(value, str) or not value:
        raise _Wrong("request_id", "must be the text that the answer gave as x-shepherd-request-id")
    if len(value) > MAX_ID:
        raise _Wrong("request_id", f"has {len(value)} characters; at most {MAX_ID}")
    return value


def _label(value: object) -> LabelValue | tuple[LabelValue, ...]:
    if not isinstance(value, list):
        return _value(value)
    if not 1 <= len(value) <= MAX_ROWS:
        raise _Wrong("label", f"has {len(value)} rows; 1 to {MAX_ROWS} are possible")
    return tuple(_value(each) for each in value)


def _value(value: object) -> LabelValue:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise _Wrong("label", f"has {len(value)} characters; at most {MAX_TEXT}")
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise _Wrong("label", "is a whole number beyond 64 bits")
    if not isinstance(value, bool | int | float | str):
        raise _Wrong("label", "must be a number, a text, true or false, or a list of these, one per row")
    return value


def _outcome(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _Wrong("outcome", "must be a number")
    return float(value)
