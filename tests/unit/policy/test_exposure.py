"""Who is on trial after a change of shares, where to go back to, and who stays out for a while."""

from __future__ import annotations

import pytest

from router.policy.actors import HARD_FAILURE_WATCH, is_own
from router.policy.document import parse_policy
from router.policy.exposure import Freeze, freeze_of, newly_shared, on_trial
from router.policy.history import last_without, taken_back
from router.ports import StoredPolicy

Shares = dict[int, int]
ONE, MIXED, TWO, HALF = {1: 100}, {1: 90, 2: 10}, {2: 100}, {1: 50, 2: 50}


def revision(number: int, shares: Shares, *, actor: str = "ada", at: float = 0.0, restores: int = 0) -> StoredPolicy:
    """A revision that gives versions their percent."""
    variants = [{"name": f"v{v}", "version": v, "weight": 100 * percent} for v, percent in shares.items()]
    return StoredPolicy(parse_policy({"model": "m", "variants": variants}), number, actor, "why", at, restores)


def history(*shares: Shares, actor: str = "ada") -> list[StoredPolicy]:
    """Revisions of one actor at 1, 2, 3 … seconds."""
    return [revision(number, each, actor=actor, at=number) for number, each in enumerate(shares, 1)]


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        (history(ONE), set()),
        (history(ONE, MIXED), {2}),
        (history(ONE, MIXED, HALF), {2}),
        (history(ONE, TWO), {2}),
        (history(MIXED, ONE), {1}),
        (history(ONE, ONE), set()),
        (history(ONE, MIXED, ONE), {1}),
        (history(ONE, {1: 100, 2: 0}), set()),
        ([], set()),
    ],
)
def test_a_version_is_on_trial_while_it_has_a_share_that_a_revision_raised(
    revisions: list[StoredPolicy], expected: set[int]
) -> None:
    """The first policy puts nobody on trial: there is nothing to go back to."""
    assert on_trial(revisions, since=0.0) == expected


def test_a_trial_ends_after_its_time() -> None:
    """Counted from the raise, whatever else was written since."""
    assert on_trial(history(ONE, MIXED, MIXED), since=2.0) == {2}
    assert on_trial(history(ONE, MIXED, MIXED), since=2.5) == set()


@pytest.mark.parametrize("actor", ["rollout:r1", "monitor", HARD_FAILURE_WATCH])
def test_what_others_answer_for_is_no_trial(actor: str) -> None:
    """Rollouts watch their own versions; a way back is no trial, so that nothing flaps."""
    assert on_trial([revision(1, ONE), revision(2, MIXED, actor=actor)], since=0.0) == set()


@pytest.mark.parametrize("actor", ["monitoring-team", "monitor2", "rollouts", "registry"])
def test_whoever_is_called_like_one_of_them_is_watched_all_the_same(actor: str) -> None:
    """The gateway's names are compared whole; nobody else gets a token under one."""
    assert on_trial([revision(1, ONE), revision(2, HALF, actor=actor)], since=0.0) == {2}
    assert is_own(actor) is (actor == "registry")
    assert all(is_own(name) for name in ("monitor", "rollout:r1", "admin", "retraining", HARD_FAILURE_WATCH))


def test_the_way_back_is_to_the_last_policy_without_the_version() -> None:
    """An experiment that it joined goes on without it, though `last_good` would end it."""
    three = {1: 40, 2: 40, 3: 20}
    found = last_without(history(ONE, HALF, three, three), 3)
    assert found is not None
    assert found.revision == 2
    assert last_without(history(MIXED, HALF), 2) is None
    assert last_without([revision(1, ONE), revision(2, TWO), revision(3, ONE, restores=1)], 1) is None


def test_what_was_taken_back_stays_out_for_the_cool_down() -> None:
    """Read off the revisions, so a restart changes nothing."""
    back = revision(3, ONE, actor=HARD_FAILURE_WATCH, at=100.0, restores=1)
    freeze = freeze_of([*history(ONE, MIXED), back], cool_down_s=30.0)
    assert freeze == Freeze(frozenset({2}), 130.0)
    assert freeze_of(history(ONE, MIXED), 30.0).until == 0.0
    assert set(newly_shared(parse_policy(_document(ONE)), parse_policy(_document(MIXED)))) == {2}


def test_a_version_counts_as_taken_back_until_somebody_brings_it_back() -> None:
    """By a rollback and by an undo; whoever follows an alias must not bring it back by itself."""
    rolled = [*history(ONE, TWO), revision(3, ONE, restores=1)]
    assert taken_back(rolled) == {2}
    assert taken_back([*rolled, revision(4, TWO)]) == set()
    assert taken_back(history(ONE, TWO)) == set()


def _document(shares: Shares) -> dict[str, object]:
    variants = [{"name": f"v{v}", "version": v, "weight": 100 * percent} for v, percent in shares.items()]
    return {"model": "m", "variants": variants}
