"""Which revision a rollback goes back to."""

from __future__ import annotations

import pytest

from router.policy.document import parse_policy
from router.policy.history import last_good
from router.ports import StoredPolicy


def revision(number: int, shares: dict[int, int], restores: int = 0) -> StoredPolicy:
    """A revision that gives versions their percent."""
    variants = [{"name": f"v{v}", "version": v, "weight": 100 * percent} for v, percent in shares.items()]
    return StoredPolicy(parse_policy({"model": "m", "variants": variants}), number, "ada", "why", 1.0, restores)


ONE, TWO = {1: 100}, {2: 100}
MIXED, HALF = {1: 90, 2: 10}, {1: 50, 2: 50}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([ONE], None),
        ([ONE, TWO], 1),
        ([ONE, MIXED, HALF], 1),
        ([ONE, MIXED, HALF, TWO], 1),
        ([ONE, ONE], None),
        ([MIXED, HALF], 1),
        ([ONE, TWO, {3: 100}], 2),
    ],
)
def test_it_is_the_last_settled_policy_with_other_versions(history: list[dict[int, int]], expected: int | None) -> None:
    """Before a canary, not the step before; with none settled, the last other split."""
    good = last_good([revision(number, shares) for number, shares in enumerate(history, 1)])
    assert (good.revision if good else None) == expected


def test_rolling_back_twice_goes_back_twice() -> None:
    """What was rolled back from is passed over, however often."""
    history = [revision(1, ONE), revision(2, TWO), revision(3, {3: 100})]
    for expected in (2, 1):
        good = last_good(history)
        assert good is not None
        assert good.revision == expected
        history.append(StoredPolicy(good.policy, len(history) + 1, "ada", "bad", 2.0, good.revision))
    assert last_good(history) is None


def test_a_policy_after_a_rollback_can_be_rolled_back_itself() -> None:
    """To the one that stood before it, which is the restored one's content."""
    history = [revision(1, ONE), revision(2, TWO), revision(3, ONE, restores=1), revision(4, {3: 100})]
    good = last_good(history)
    assert good is not None
    assert [variant.version for variant in good.policy.variants] == [1]
