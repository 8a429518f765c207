"""The pieces of the split: the logarithm, the hash, and answers that must never change."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest

from router.policy import bucketing
from router.policy.bucketing import choose, draw, keyed_hasher, make_arms, neg_log2


def test_the_logarithm_is_right_to_seven_digits_over_its_range() -> None:
    """Against libm, at the borders of cells and octaves and between."""
    numbers = {
        number
        for exponent in range(64)
        for base in (1 << exponent, (1 << exponent) * 3 // 2, (1 << exponent) * 1025 // 1024)
        for number in (base - 1, base, base + 1)
        if 0 < number < 1 << 64
    } | {(1 << 64) - 1}
    for number in numbers:
        assert neg_log2(number) / 2**32 == pytest.approx(64 - math.log2(number), abs=2e-7)


def test_the_logarithm_never_rises() -> None:
    """Across a cell border, an octave border, and by single steps."""
    for start in ((1 << 63) - 500, (1 << 63) + (1 << 53) - 500, 1, (1 << 64) - 1001):
        values = [neg_log2(number) for number in range(start, start + 1000)]
        assert values == sorted(values, reverse=True)


def test_the_logarithm_table_is_the_correctly_rounded_one() -> None:
    """So it is the same on every platform, whatever the last digit of its libm."""
    with localcontext() as context:
        context.prec = 40
        octave = Decimal(2).ln()
        exact = [(Decimal(1024 + cell) / 1024).ln() / octave * 2**32 for cell in range(1025)]
    assert list(bucketing._BORDERS) == [int(value.to_integral_value()) for value in exact]
    assert min(abs(value % 1 - Decimal("0.5")) for value in exact) > Decimal("1e-4")  # libm errs by about 1e-6 here


def test_draws_depend_on_purpose_salt_name_and_key() -> None:
    """Splits and shadows, experiments, arms and keys are independent of each other."""
    draws = {
        draw(keyed_hasher(purpose, salt, name), key)
        for purpose in ("split", "shadow")
        for salt in ("a", "b")
        for name in ("x", "y")
        for key in (b"1", b"2")
    }
    assert len(draws) == 16


def test_salt_and_name_do_not_run_into_each_other() -> None:
    """("ab", "c") and ("a", "bc") are different arms."""
    assert draw(keyed_hasher("split", "ab", "c"), b"k") != draw(keyed_hasher("split", "a", "bc"), b"k")


def test_known_keys_keep_their_variants_for_ever() -> None:
    """If this fails, an upgrade would move users between variants: that needs a new experiment, not a new release."""
    arms = make_arms("flight-delay", [("a", 5000), ("b", 3000), ("c", 2000)])
    chosen = "".join(arms[choose(arms, b"user-%d" % number)].name for number in range(48))
    assert chosen == "aabbabaaaaaaaaacbaaaabaaacabaacaacaabbbbcbabaacc"


def test_an_arm_without_weight_is_left_out() -> None:
    """It can never win, so it is never hashed."""
    assert [arm.name for arm in make_arms("s", [("a", 0), ("b", 10_000), ("c", 0)])] == ["b"]
