"""Feedback is read entry by entry: what is right is taken, what is wrong is refused by place and field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.requestlog.label import MAX_BODY_BYTES, MAX_LABELS, Label, encode_label_value, read_feedback
from serving.protocol.errors import ErrorKind, ServingError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def read(document: Any) -> tuple[tuple[Label, ...], list[tuple[int, str]]]:
    feedback = read_feedback(json.dumps(document).encode())
    return feedback.labels, [(mistake.index, mistake.field) for mistake in feedback.mistakes]


@pytest.mark.parametrize("value", [True, 0, -3, 2.5, "cat", "naïve"])
def test_a_label_is_a_number_a_text_or_a_truth(value: Any) -> None:
    """As it was sent, type and all: true is not 1."""
    labels, mistakes = read({"request_id": "a", "label": value})

    assert (labels, mistakes) == ((Label("a", value),), [])
    assert type(labels[0].label) is type(value)


def test_a_request_of_many_rows_has_a_label_for_each() -> None:
    """In their order."""
    assert read({"request_id": "a", "label": [1, 0, 1]})[0] == (Label("a", (1, 0, 1)),)


def test_an_outcome_may_come_with_a_label_or_alone() -> None:
    """What an answer led to is known where the truth may never be."""
    assert read({"request_id": "a", "outcome": 3})[0] == (Label("a", None, 3.0),)
    assert read({"request_id": "a", "label": "x", "outcome": -0.5})[0] == (Label("a", "x", -0.5),)


def test_right_entries_among_wrong_ones_are_taken() -> None:
    """Each mistake names its place and field."""
    labels, mistakes = read(
        {
            "labels": [
                {"request_id": "a", "label": 1},
                {"request_id": "", "label": 1},
                {"request_id": "c"},
                "d",
                {"request_id": "e", "label": {"deep": 1}},
                {"request_id": "f", "label": []},
                {"request_id": "g", "outcome": "high"},
                {"request_id": "h", "labels": 1},
                {"request_id": "i", "label": 1 << 64},
                {"request_id": "j", "label": 0},
            ]
        }
    )

    assert labels == (Label("a", 1), Label("j", 0))
    fields = ["request_id", "label", "", "label", "label", "outcome", "labels", "label"]
    assert mistakes == list(enumerate(fields, start=1))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ErrorKind.INVALID),
        (b"[]", ErrorKind.INVALID),
        (b'{"labels": 3}', ErrorKind.INVALID),
        (b'{"labels": []}', ErrorKind.INVALID),
        (b'{"labels": [], "more": 1}', ErrorKind.INVALID),
        (b'{"labels": [' + b"[" * 100_000, ErrorKind.INVALID),
        (b'{"labels": [' + b",".join([b"1"] * (MAX_LABELS + 1)) + b"]}", ErrorKind.TOO_LARGE),
        (b" " * (MAX_BODY_BYTES + 1), ErrorKind.TOO_LARGE),
    ],
    ids=["empty", "list", "no-list", "no-entry", "other-member", "deep", "too-many", "too-large"],
)
def test_a_message_that_is_none_is_refused_whole(body: bytes, kind: ErrorKind) -> None:
    """Size is looked at first."""
    with pytest.raises(ServingError) as caught:
        read_feedback(body)

    assert caught.value.kind is kind


@given(
    entries=st.lists(json_values | st.fixed_dictionaries({"request_id": st.text(), "label": json_values}), min_size=1)
)
def test_whatever_is_sent_each_entry_is_taken_or_refused_and_what_is_taken_can_be_kept(entries: list[Any]) -> None:
    """Nothing raises, nothing vanishes, and every label accepted survives the stream's form."""
    feedback = read_feedback(json.dumps({"labels": entries}).encode())

    assert len(feedback.labels) + len(feedback.mistakes) == len(entries)
    for label in feedback.labels:
        back = msgspec.json.decode(encode_label_value(label))
        assert back == (list(label.label) if isinstance(label.label, tuple) else label.label)
