"""A guest that falls ill again and again comes back ever later; one that has lived long has never been ill."""

from __future__ import annotations

from serving.deployment.hosting.relapses import Relapses
from serving.deployment.start_backoff import MAX_PAUSE_S


def rest_s(relapses: Relapses, now: float, loaded_at: float) -> float:
    """Count a failed check, and say how long the guest is to rest."""
    relapses.count(now, loaded_at)
    return relapses.rests_until - now


def test_pauses_grow_with_the_relapses_in_a_row() -> None:
    """The first reload is at once: it mends most of what can be mended."""
    relapses = Relapses()

    assert [rest_s(relapses, 100.0, 90.0) for _ in range(8)] == [0, 2, 4, 8, 16, 32, MAX_PAUSE_S, MAX_PAUSE_S]


def test_a_life_longer_than_any_pause_is_forgiven() -> None:
    """What ails it then is something new."""
    relapses = Relapses()
    for _ in range(5):
        relapses.count(100.0, 90.0)

    assert rest_s(relapses, now=101.0 + MAX_PAUSE_S, loaded_at=100.0) == 0
