"""What is held against a version under trial, look by look: its own failures, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from router.control.hard_watch import HardWatch
from router.rollout.evidence import ArmCounters, Counters
from tests.rollouts import EPOCH_S, NEW, OLD


class Trial:
    """A watch over the new version; looks come a quarter of a second apart."""

    def __init__(self) -> None:
        self.watch = HardWatch(NEW)
        self.now = EPOCH_S
        self.answers = {NEW: {"ok": 0}, OLD: {"ok": 0}}
        self.directed: dict[int, dict[str, int]] = {NEW: {}, OLD: {}}
        self.rows = {NEW: 0, OLD: 0}

    def answer(self, version: int, n: int, outcome: str = "ok", *, directed: bool = False) -> None:
        for counts in [self.answers[version], *([self.directed[version]] if directed else [])]:
            counts[outcome] = counts.get(outcome, 0) + n

    def look(self, times: int = 1) -> str:
        said = ""
        for _ in range(times):
            arms = tuple(
                ArmCounters(f"v{version}", version, dict(counts), dict(self.directed[version]))
                for version, counts in self.answers.items()
            )
            said = self.watch.look(Counters(arms, dict(self.rows)), self.now, beside={OLD})
            self.now += 0.25
        return said

    def settled(self) -> Trial:
        self.look(8)
        return self


def test_rows_of_copies_are_not_held_against_the_first_answers() -> None:
    """Replicas count a row whoever asked; those of a shadow's copies come in while its share begins."""
    trial = Trial()
    trial.rows = {NEW: 30, OLD: 30}
    trial.answer(OLD, 10_000)
    trial.look(2)
    trial.rows[NEW] += 5  # copies that were still under way
    trial.answer(NEW, 3)
    assert trial.look(8) == ""
    trial = Trial().settled()
    trial.rows[NEW] += 20  # a probe, when nobody has been answered yet
    trial.look(2)
    trial.answer(NEW, 20)
    assert trial.look() == ""


def test_a_version_without_such_rows_before_its_share_is_judged_from_its_first_answers_on() -> None:
    """No copy or probe of it can be the reason."""
    trial = Trial()
    trial.answer(OLD, 1000)
    trial.look()
    trial.answer(NEW, 10)
    trial.rows[NEW] += 10
    assert "10 of its last 10" in trial.look()


def test_one_answer_is_one_failure_however_many_of_its_rows_are_not_numbers() -> None:
    """What is over is not saved up for the answers after it."""
    trial = Trial().settled()
    trial.answer(NEW, 1)
    trial.look()
    trial.rows[NEW] += 100
    trial.answer(NEW, 1)
    trial.look()
    trial.answer(NEW, 99)
    assert trial.look() == ""


@pytest.mark.parametrize("rows_first", [True, False])
def test_answers_that_are_not_numbers_end_a_trial_whichever_file_is_ahead(*, rows_first: bool) -> None:
    """Routers count answers and replicas rows, each in a file of its own."""
    trial = Trial().settled()
    trial.answer(OLD, 1000)
    trial.answer(NEW, 1)
    trial.look()
    for turn in range(4):
        if (turn % 2 == 0) is rows_first:
            trial.rows[NEW] += 20
        else:
            trial.answer(NEW, 20)
        said = trial.look()
    trial.answer(NEW, 20)
    assert "fails hard" in (said or trial.look())


def test_a_version_whose_predecessor_answers_infinity_by_habit_may_do_so_too() -> None:
    """Logarithms of zero are answers; errors end it as ever."""
    trial = Trial().settled()
    trial.answer(OLD, 1000)
    trial.rows[OLD] += 1000
    trial.look()
    for _ in range(10):
        trial.answer(NEW, 20)
        trial.rows[NEW] += 20
        assert trial.look() == ""
    trial.answer(NEW, 10, "model_failed")
    assert "fails hard" in trial.look()


CLIENTS = ["invalid", "too_large", "unsupported", "cancelled", "overloaded", "unauthenticated", "forbidden"]


@pytest.mark.parametrize("outcome", [*CLIENTS, "unfinished"])
def test_whoever_pins_a_version_cannot_take_its_traffic_away(outcome: str) -> None:
    """Malformed calls to one version have no counterpart in another; from the split they hit all alike."""
    trial = Trial().settled()
    trial.answer(OLD, 1000)
    trial.answer(NEW, 100)
    trial.look()
    trial.answer(NEW, 500, outcome, directed=True)
    assert trial.look() == ""


@pytest.mark.parametrize(("outcome", "directed"), [("invalid", False), ("model_failed", True), ("deadline", True)])
def test_a_model_with_another_signature_and_one_that_breaks_are_found(outcome: str, directed: bool) -> None:
    """The split's requests fitted the version before; and a model that raises fails whoever asks."""
    trial = Trial().settled()
    trial.answer(OLD, 1000)
    trial.look()
    trial.answer(NEW, 20, outcome, directed=directed)
    assert "20 of its last 20" in trial.look()


def test_counters_that_step_back_are_no_evidence() -> None:
    """A file of metrics that cannot be read is passed over, and comes back; the watch goes on."""
    trial = Trial().settled()
    trial.answer(NEW, 40)
    trial.answer(NEW, 1, "model_failed")
    trial.look()
    held: Any = dict(trial.answers[NEW])
    trial.answers[NEW] = {"ok": 0}
    assert trial.look(2) == ""
    trial.answers[NEW] = held
    assert trial.look(2) == ""
    trial.answer(NEW, 20, "model_failed")
    assert "fails hard" in trial.look()


def test_a_file_of_counters_that_cannot_be_read_for_a_moment_is_not_counted_anew() -> None:
    """What a version has behind it, here an older trial that failed, is no evidence of this one."""
    trial = Trial()
    trial.answer(NEW, 300, "internal")
    trial.answer(NEW, 300)
    trial.answer(OLD, 10_000)
    trial.settled().answer(NEW, 20)
    assert trial.look() == ""
    whole = trial.answers
    trial.answers = {NEW: {"ok": 0}, OLD: {"ok": 0}}  # passed over, as when control has no file descriptor left
    trial.look(2)
    trial.answers = whole
    assert trial.look(3) == ""
    trial.answer(NEW, 20, "internal")
    assert "fails hard" in trial.look()


def test_counters_that_stay_behind_have_begun_anew() -> None:
    """As when somebody empties the folder: after a while they are believed."""
    trial = Trial()
    trial.answer(NEW, 600)
    trial.answer(OLD, 10_000)
    trial.settled()
    trial.answers = {NEW: {"ok": 0}, OLD: {"ok": 0}}
    trial.look(80)
    trial.answer(NEW, 20, "internal")
    assert "fails hard" in trial.look()
