"""The laws of the split that rollouts and experiments rest on."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from router.policy.bucketing import Arm, choose, make_arms

names = st.text("abcdefghij", min_size=1, max_size=4)
weights = st.integers(0, 10_000)
arm_weights = st.dictionaries(names, weights, min_size=2, max_size=6).filter(lambda arms: any(arms.values()))
keys = st.lists(st.binary(max_size=40), min_size=1, max_size=50)


def winner(arms: tuple[Arm, ...], key: bytes) -> str:
    return arms[choose(arms, key)].name


@given(arm_weights, keys, st.data())
def test_raising_a_weight_never_moves_a_key_away_from_that_arm(
    before: dict[str, int], keys: list[bytes], data: st.DataObject
) -> None:
    """A canary that grows only gains users; whatever moves, moves to it."""
    raised = data.draw(st.sampled_from(sorted(before)))
    after = before | {raised: data.draw(st.integers(before[raised], 20_000))}
    arms_before, arms_after = make_arms("s", before.items()), make_arms("s", after.items())
    for key in keys:
        old, new = winner(arms_before, key), winner(arms_after, key)
        assert new in {old, raised}


@given(arm_weights, keys, st.data())
def test_removing_an_arm_moves_only_its_own_keys(
    before: dict[str, int], keys: list[bytes], data: st.DataObject
) -> None:
    """The others do not notice."""
    removed = data.draw(st.sampled_from(sorted(before)))
    arms_before = make_arms("s", before.items())
    arms_after = make_arms("s", ((name, weight) for name, weight in before.items() if name != removed))
    if not arms_after:
        return
    for key in keys:
        old = winner(arms_before, key)
        if old != removed:
            assert winner(arms_after, key) == old


@given(arm_weights, keys)
def test_the_order_of_the_arms_does_not_matter(arms: dict[str, int], keys: list[bytes]) -> None:
    """Reordering a document moves nobody."""
    forth, back = make_arms("s", arms.items()), make_arms("s", reversed(arms.items()))
    assert [winner(forth, key) for key in keys] == [winner(back, key) for key in keys]


@given(arm_weights, keys)
def test_an_arm_without_weight_never_wins(arms: dict[str, int], keys: list[bytes]) -> None:
    """0 is a dark launch."""
    made = make_arms("s", arms.items())
    assert all(arms[winner(made, key)] > 0 for key in keys)


@given(names, keys)
def test_an_arm_with_the_whole_weight_always_wins(name: str, keys: list[bytes]) -> None:
    """10 000 is everybody."""
    made = make_arms("s", [(name, 10_000), (name + "-dark", 0)])
    assert {winner(made, key) for key in keys} == {name}


def test_a_million_keys_split_to_within_0_3_points() -> None:
    """Shares are what the operator wrote."""
    arms = make_arms("flight-delay", [("stable", 9_000), ("canary", 1_000)])
    chosen = Counter(choose(arms, b"user-%d" % number) for number in range(1_000_000))
    assert chosen[1] / 1_000_000 == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize("shares", [[1, 9_999], [5_000, 3_000, 1_500, 499, 1], [1_250] * 8])
def test_shares_fit_the_weights_by_chi_square(shares: list[int]) -> None:
    """Also with arms of one basis point, and with many."""
    count = 200_000
    arms = make_arms("chi", ((f"arm-{number}", share) for number, share in enumerate(shares)))
    chosen = Counter(choose(arms, b"%d" % number) for number in range(count))
    observed = [chosen[position] for position in range(len(shares))]
    assert stats.chisquare(observed, [share * count / 10_000 for share in shares]).pvalue > 0.001


def test_experiments_under_different_salts_are_independent() -> None:
    """Knowing a user's arm in one says nothing of the arm in the other."""
    one, other = (make_arms(salt, [("a", 5_000), ("b", 3_000), ("c", 2_000)]) for salt in ("one", "other"))
    table = [[0] * 3 for _ in range(3)]
    for number in range(100_000):
        key = b"user-%d" % number
        table[choose(one, key)][choose(other, key)] += 1
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_the_steps_of_a_rollout_flip_nobody_back() -> None:
    """5 → 10 → 25 → 50 → 100 %: who has the canary keeps it."""
    has_canary: set[int] = set()
    for canary in (500, 1_000, 2_500, 5_000, 10_000):
        arms = make_arms("rollout", [("stable", 10_000 - canary), ("canary", canary)])
        now = {number for number in range(20_000) if winner(arms, b"user-%d" % number) == "canary"}
        assert has_canary <= now
        has_canary = now
    assert len(has_canary) == 20_000
