"""Which slot an answer belongs to, whatever clocks say, and what seasons make of it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.building import build_profile, columns_of
from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.counting import Arrived
from router.monitor.drift import WindowSettings
from router.monitor.state import Arm
from tests.watched import MODEL, SETTINGS, Log, profile, rows, scores

WINDOW = WindowSettings(slot_s=1.0, grace_s=3.0)
ARM = Arm(MODEL, 1, "stable")
T = 1_700_000_000.0
times = st.floats(-1e9, 4e9)


@given(at=times, came=st.floats(0, 4e9), judged=st.floats(0, 4e9))
def test_what_comes_after_a_slot_was_closed_is_not_of_it(at: float, came: float, judged: float) -> None:
    """Slots are closed up to the moment to which the log was read, and what comes later belongs to an open one."""
    slot = WINDOW.slot_of(at, came)

    assert slot >= WINDOW.first_open(came)
    if came >= judged:
        assert slot >= WINDOW.first_open(judged)


@pytest.mark.parametrize(
    ("request_at", "slot"),
    [(T, T), (T - 2, T - 2), (T - 3600, T - 3), (T + 3600, T), (T - 1e9, T - 3)],
    ids=["in-time", "a-little-late", "an-hour-late", "from-the-future", "from-another-age"],
)
def test_an_answer_from_the_past_or_the_future_counts_where_it_came(request_at: float, slot: float) -> None:
    """A router's clock may be wrong, or its spool an hour behind: nothing is lost, and no slot waits for years."""
    assert WINDOW.slot_of(request_at, T) == int(slot)


def test_answers_of_a_router_whose_clock_is_wrong_are_judged_with_the_others() -> None:
    """A day ahead, a day behind: the window has them all, and nothing stays open."""
    document = encode_profile(profile())
    made = Book(SETTINGS, lambda _model, _version: document)
    records = Log(at=T).records(rows(1, 300))
    skewed = [
        msgspec.structs.replace(record, at=record.at + (i % 3 - 1) * 86_400.0) for i, record in enumerate(records)
    ]
    made.enter([Arrived(each, record.at) for each, record in zip(skewed, records, strict=True)])
    made.judge(T + 60)

    assert made.arms[ARM].windows == 1
    assert made.arms[ARM].slots == {}


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -float("inf"), 1e300, -1e300])
def test_a_time_that_is_no_moment_spoils_nothing(at: float) -> None:
    """The answer counts as of its arrival, or of the earliest slot that is open."""
    document = encode_profile(profile())
    made = Book(SETTINGS, lambda _model, _version: document)
    records = Log(at=T).records(rows(1, 300))
    records[7] = msgspec.structs.replace(records[7], at=at)
    kept = made.enter([Arrived(each, T + 1) for each in records])
    made.judge(T + 60)

    assert len(kept) == 300
    assert made.arms[ARM].windows == 1
    assert 0 <= kept[7].prediction.at <= T + 1


@pytest.mark.parametrize("seasonal", [True, False])
def test_night_is_no_drift_for_a_profile_that_knows_the_hours(seasonal: bool) -> None:
    """Traffic of the night against a reference of day and night: alike by hours, drifted without."""
    chance = np.random.default_rng(0)
    hours = chance.integers(0, 24, 6000)
    x = chance.normal(size=(6000, 3))
    x[:, 0] += np.where(hours < 12, -1.0, 1.0)
    columns = [*columns_of({"x": x}, "input"), *columns_of({"score": scores(x)}, "output")]
    document = encode_profile(build_profile(columns, hours=hours if seasonal else None))
    made = Book(SETTINGS, lambda _model, _version: document)
    midnight = T // 86_400 * 86_400
    for seed, hour in enumerate((1, 2, 3, 14, 15)):
        log = Log(at=midnight + 3600.0 * hour, written=1000 * seed)
        records = log.records(rows(seed + 1, 400, shift=-1.0 if hour < 12 else 1.0))
        made.enter([Arrived(record, record.at) for record in records])
        made.judge(log.at + 10)
        verdict = made.arms[ARM].verdict
        assert verdict is not None
        assert ("x[0]" in verdict.drifted) is (not seasonal)
