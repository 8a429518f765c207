"""Entity tags and preconditions, by RFC 9110 §13 and RFC 6585 §3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admin.preconditions import entity_tag, parse_precondition
from router.admin.problems import Problem

revisions = st.integers(1, 10**12)


@given(revisions)
def test_the_tag_of_a_revision_lets_exactly_that_revision_be_changed(revision: int) -> None:
    """What is read with a tag can be written with it, and nothing else."""
    precondition = parse_precondition(entity_tag(revision), None)
    assert precondition.expect("m", revision) == revision
    for other in (0, revision + 1):
        with pytest.raises(Problem) as caught:
            precondition.expect("m", other)
        assert (caught.value.status_code, caught.value.members["current_revision"]) == (412, other)


@given(st.lists(revisions, min_size=1, max_size=5))
def test_of_several_tags_any_may_match(listed: list[int]) -> None:
    """A list is a choice."""
    precondition = parse_precondition(", ".join(map(entity_tag, listed)), None)
    assert all(precondition.expect("m", revision) == revision for revision in listed)


def test_if_none_match_star_only_creates() -> None:
    """It holds where there is nothing, and nowhere else."""
    precondition = parse_precondition(None, "*")
    assert precondition.expect("m", 0) == 0
    with pytest.raises(Problem, match="revision 4"):
        precondition.expect("m", 4)


def test_if_match_star_takes_any_revision_but_not_none() -> None:
    """An explicit choice to overwrite what stands; it creates nothing."""
    precondition = parse_precondition("*", None)
    assert precondition.expect("m", 4) == 4
    with pytest.raises(Problem, match="no policy"):
        precondition.expect("m", 0)


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "status"),
    [
        (None, None, 428),
        ('"3"', "*", 400),
        ('W/"3"', None, 400),
        ('"three"', None, 400),
        ("", None, 400),
        ('"3', None, 400),
        (None, '"3"', 400),
        ('"' + "9" * 40 + '"', None, 400),
    ],
)
def test_missing_and_malformed_preconditions_are_told_apart(
    if_match: str | None, if_none_match: str | None, status: int
) -> None:
    """428 asks for one, 400 says what is wrong with it."""
    with pytest.raises(Problem) as caught:
        parse_precondition(if_match, if_none_match)
    assert caught.value.status_code == status


def test_quotes_lost_in_a_shell_are_forgiven() -> None:
    """`curl -H 'If-Match: 3'` means revision 3."""
    assert parse_precondition("3", None).expect("m", 3) == 3
