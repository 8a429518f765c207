"""Lost updates made impossible: entity tags of revisions, and the precondition that each write must bring.

Source: RFC 9110 §13 (conditional requests), RFC 6585 §3 (428 Precondition Required).
"""

from __future__ import annotations

import re

import msgspec

from router.admin.problems import Problem, stale

_TAG = re.compile(r'"(\d{1,18})"|(\d{1,18})', re.ASCII)


class Precondition(msgspec.Struct, frozen=True):
    """What a writer believes of the policy it changes: one of `revisions` stands; 0 means that there is none."""

    revisions: frozenset[int]
    any_existing: bool = False
    """`If-Match: *`: whichever revision stands, but some does."""

    def expect(self, model: str, current: int) -> int:
        """Give the revision to compare and set against.

        Raises:
            Problem: 412, the belief is wrong.
        """
        if self.any_existing and current:
            return current
        if not self.any_existing and current in self.revisions:
            return current
        raise stale(model, min(self.revisions, default=0), current)


def entity_tag(revision: int) -> str:
    """Name a revision for `ETag` and `If-Match`."""
    return f'"{revision}"'


def parse_precondition(if_match: str | None, if_none_match: str | None) -> Precondition:
    """Read a write's headers: `If-Match: "3"` changes revision 3, `If-None-Match: *` creates.

    Raises:
        Problem: 428 when both are missing, 400 when they are malformed or contradict each other.
    """
    if if_match is not None and if_none_match is not None:
        raise Problem("invalid-request", "If-Match and If-None-Match: give one of them", field="If-Match")
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise Problem(
                "invalid-request", "If-None-Match: a write takes only *, for a new policy", field="If-None-Match"
            )
        return Precondition(frozenset({0}))
    if if_match is None:
        raise Problem(
            "precondition-missing",
            "give If-Match with the ETag that the policy had when you read it, or If-None-Match: * for a new one",
        )
    if if_match.strip() == "*":
        return Precondition(frozenset(), any_existing=True)
    return Precondition(frozenset(_revision(tag.strip()) for tag in if_match.split(",")))


def _revision(tag: str) -> int:
    """Read one entity tag; quotes may be left out, as they are easily lost in a shell."""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise Problem("invalid-request", f'If-Match: {tag} is not the ETag of a revision, as "3" is', field="If-Match")
    return int(match[1] or match[2])
