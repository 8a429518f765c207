"""Merge patches and reasons."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admin.problems import Problem
from router.admin.representations import merge_patch, split_reason

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_follow_the_examples_of_the_standard(target: Any, patch: Any, result: Any) -> None:
    """RFC 7396, appendix A."""
    assert merge_patch(target, patch) == result


@given(json_values, json_values)
def test_a_patch_applied_twice_is_applied_once(target: Any, patch: Any) -> None:
    """A retry does no harm."""
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(st.dictionaries(st.text(max_size=3), json_values))
def test_an_empty_patch_changes_nothing(target: dict[str, Any]) -> None:
    """And leaves the target itself alone."""
    assert merge_patch(target, {}) == target


def test_reason_and_read_only_members_are_no_part_of_the_document() -> None:
    """What the gateway adds to an answer comes off again."""
    body = {"variants": [], "reason": " why ", "revision": 3, "actor": "ada", "at": 1.5}
    assert split_reason(body, None) == ({"variants": []}, "why")


@pytest.mark.parametrize(("body", "header"), [({}, None), ({"reason": ""}, None), ({"reason": "x"}, "  ")])
def test_no_reason_is_no_write(body: dict[str, Any], header: str | None) -> None:
    """An audit log without reasons is worth little; an empty header does not fall back on the body."""
    with pytest.raises(Problem, match="reason"):
        split_reason(body, header)
