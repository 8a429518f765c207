"""The domain classifier tells whether rows can be told from the reference, and by which features."""

from __future__ import annotations

import numpy as np
import pytest

from router.drift.domain_classifier import explain

RNG = np.random.default_rng(5)
REFERENCE = RNG.normal(size=(1500, 6))


def test_rows_of_the_reference_cannot_be_told_from_it() -> None:
    """The AUC is within chance of a half, in 20 tries."""
    z = [explain(RNG.normal(size=(600, 6)), RNG.normal(size=(500, 6))).z for _ in range(20)]

    assert abs(np.mean(z)) < 1
    assert np.max(np.abs(z)) < 4


def test_a_shifted_feature_is_named() -> None:
    """And the p-value is small."""
    live = RNG.normal(size=(800, 6))
    live[:, 3] += 0.6
    found = explain(REFERENCE, live)

    assert found.p_value < 1e-6
    assert int(np.argmax(found.importances)) == 3
    assert sum(found.importances) == pytest.approx(1)


def test_a_flipped_correlation_is_told_though_margins_are_unchanged() -> None:
    """Both features of the pair are named."""
    reference, live = RNG.normal(size=(1500, 6)), RNG.normal(size=(800, 6))
    reference[:, 4] = 0.8 * reference[:, 1] + 0.6 * reference[:, 4]
    live[:, 4] = -0.8 * live[:, 1] + 0.6 * live[:, 4]
    found = explain(reference, live)

    assert found.auc > 0.7
    assert set(np.argsort(found.importances)[-2:].tolist()) == {1, 4}


def test_the_same_rows_get_the_same_answer() -> None:
    """There is no chance in it."""
    assert explain(REFERENCE, REFERENCE[:300]) == explain(REFERENCE, REFERENCE[:300])


def test_too_few_rows_are_refused() -> None:
    """Each fold needs one of each."""
    with pytest.raises(ValueError, match="4 and 1500 rows"):
        explain(REFERENCE, REFERENCE[:4])
