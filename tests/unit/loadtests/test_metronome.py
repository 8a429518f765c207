"""Ticks come at their rate: none early, none lost, none twice."""

from __future__ import annotations

import itertools
import select
import time

from loadtests.metronome import Metronome


def test_no_tick_is_early_lost_or_taken_twice() -> None:
    """Each has its own time, one interval after the one before, however late they are looked at."""
    ticks: list[float] = []
    with Metronome(500.0) as metronome:
        while len(ticks) < 50:
            select.select([metronome], [], [])
            taken = metronome.due()
            assert all(tick <= time.monotonic() for tick in taken)
            ticks += taken
            if len(ticks) < 20:
                select.select([], [], [], 0.005)  # late: the next look finds several

    between = [round(1e9 * (after - before)) for before, after in itertools.pairwise(ticks)]
    assert all(abs(gap - 2_000_000) < 1000 for gap in between)


def test_a_metronome_that_nobody_looked_at_gives_all_its_ticks_at_once() -> None:
    """A sender that was held up owes them all."""
    with Metronome(1000.0) as metronome:
        started = time.monotonic()
        while time.monotonic() - started < 0.02:
            select.select([], [], [], 0.02)
        assert len(metronome.due()) >= 20
