"""Which verdicts count: those of arms that requests still reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.counting import Arrived, Kept
from router.monitor.evaluation import Standing
from router.monitor.incident import Transition
from router.monitor.labels import Label, Pairing
from router.monitor.reach import PINNED_FOR_S, Reach, reach_of
from router.monitor.state import OTHER_ARM, SHADOW_ARM, Arm
from router.performance.alarm import AlarmState
from router.performance.escalation import NOT_REACHED, Act
from router.performance.severity import Severity
from router.policy.document import parse_policy
from router.requestlog.record import SHADOW
from tests.watched import MODEL, SETTINGS, START, Log, arrived, profile, rows, truth

DOCUMENT = encode_profile(profile())
LATER = START + 1e6
SHADOWED, SERVING = (Standing(Reach(frozenset({arm})), target=7) for arm in (SHADOW_ARM, "stable"))
GONE = Standing(Reach())


def book() -> Book:
    return Book(SETTINGS, lambda _model, _version: DOCUMENT)


def copies(arrivals: Sequence[Arrived]) -> list[Arrived]:
    """Make answers of a shadow of them."""
    return [
        each._replace(
            record=msgspec.structs.replace(each.record, kind=SHADOW, variant="", primary_id=each.record.request_id)
        )
        for each in arrivals
    ]


def contradicted(made: Book, arrivals: Sequence[Arrived], x: Any, wrong: float = 0.5) -> None:
    """Enter answers and labels that are wrong as often as that."""
    made.learn(MODEL, late(made.enter(arrivals), truth(x, wrong=wrong).tolist()))


def late(kept: Sequence[Kept], values: Sequence[float]) -> list[Pairing]:
    """Lay labels beside answers."""
    return [
        Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at))
        for each, value in zip(kept, values, strict=True)
    ]


def acts(transitions: Sequence[Transition]) -> list[Act]:
    return [each.act for each in transitions]


def test_what_a_shadow_was_guilty_of_does_not_roll_back_the_version_that_serves() -> None:
    """Its labels were an emergency while it was a shadow; the arm that serves is healthy."""
    made, log, x = book(), Log(), rows(1, 600)
    contradicted(made, copies(arrived(log.records(x))), x)
    withheld = made.evaluate((MODEL, 1), LATER, Standing(SHADOWED.reach))[-1]
    assert (withheld.act, withheld.reason) == (Act.WITHHOLD, "the version answers no clients")
    y = rows(2, 600)
    contradicted(made, arrived(log.records(y)), y, wrong=0.0)
    found = [made.evaluate((MODEL, 1), LATER, SERVING) for _ in range(3)]

    assert acts([each for part in found for each in part]) == [Act.RESOLVE]
    assert made.arms[Arm(MODEL, 1, SHADOW_ARM)].retired


def test_a_version_whose_rollbacks_are_held_keeps_its_traffic_until_they_are_released() -> None:
    """The hold is read anew at each evaluation."""
    made, x = book(), rows(8, 600)
    contradicted(made, arrived(Log().records(x)), x)
    held = made.evaluate((MODEL, 1), LATER, SERVING._replace(held=True))

    assert (held[-1].act, held[-1].reason) == (Act.WITHHOLD, "held by an operator")
    assert Act.ROLL_BACK not in acts(held)
    assert acts(made.evaluate((MODEL, 1), LATER, SERVING)) == [Act.ROLL_BACK]


def test_drift_of_a_canary_that_was_promoted_does_not_keep_its_incident_open() -> None:
    """The alarm is frozen in an arm that gets nothing; the arm that took its place is clean."""
    made, log = book(), Log()
    made.enter(arrived(log.records(rows(3, 800, shift=1.0), variant="canary")))
    made.judge(LATER)
    opened = made.evaluate((MODEL, 1), LATER, Standing(Reach(frozenset({"canary"}))))
    resolved = []
    for seed in (4, 5, 6):
        made.enter(arrived(log.records(rows(seed, 200))))
        made.judge(LATER)
        resolved += made.evaluate((MODEL, 1), LATER, SERVING)

    assert acts(opened) == [Act.OPEN]
    assert acts(resolved) == [Act.RESOLVE]


PROMOTED = Standing(Reach(frozenset({"stable"})), target=7)


def test_late_labels_of_a_canary_count_against_its_version_after_the_promotion() -> None:
    """The answers were the version's, whatever its variant was called; what was answered and labelled stays apart."""
    made, log, x = book(), Log(), rows(11, 600)
    kept = made.enter(arrived(log.records(x, variant="canary")))
    made.evaluate((MODEL, 1), LATER, Standing(Reach(frozenset({"canary"}))))
    made.enter(arrived(log.records(rows(12, 10))))
    assert made.evaluate((MODEL, 1), LATER, PROMOTED) == []
    made.learn(MODEL, late(kept, truth(x, wrong=0.5).tolist()))

    assert Act.ROLL_BACK in acts(made.evaluate((MODEL, 1), LATER, PROMOTED))
    canary, stable = (made.arms[Arm(MODEL, 1, name)] for name in ("canary", "stable"))
    assert (canary.answers, canary.labelled) == (600, 600)
    assert (stable.answers, stable.labelled) == (10, 0)
    assert canary.alarm == AlarmState()


def test_late_labels_of_a_shadow_do_not_count_against_the_version_that_serves() -> None:
    """No client got its answers."""
    made, log, x = book(), Log(), rows(13, 600)
    kept = made.enter(copies(arrived(log.records(x))))
    made.enter(arrived(log.records(rows(14, 10))))
    assert made.evaluate((MODEL, 1), LATER, SERVING) == []
    made.learn(MODEL, late(kept, truth(x, wrong=0.5).tolist()))

    assert made.evaluate((MODEL, 1), LATER, SERVING) == []


def test_labels_that_come_when_nothing_reaches_a_version_stay_with_the_arm_that_answered() -> None:
    """They are on record, and no incident."""
    made, x = book(), rows(15, 600)
    kept = made.enter(arrived(Log().records(x)))
    made.evaluate((MODEL, 1), LATER, GONE)
    made.learn(MODEL, late(kept, truth(x, wrong=0.5).tolist()))

    assert made.arms[Arm(MODEL, 1, "stable")].alarm.severity is Severity.EMERGENCY
    assert made.evaluate((MODEL, 1), LATER, GONE) == []


def test_the_incident_of_a_version_without_requests_is_resolved_and_keeps_its_record() -> None:
    """It says why, and what it was about; it is listed as one to look at although nothing new comes of it."""
    made, x = book(), rows(7, 600)
    contradicted(made, arrived(Log().records(x)), x)
    assert Act.ROLL_BACK in acts(made.evaluate((MODEL, 1), LATER, SERVING))
    made.stirred()
    assert made.under_incident() == {(MODEL, 1)}
    (resolved,) = made.evaluate((MODEL, 1), LATER, GONE)

    assert resolved.act is Act.RESOLVE
    assert resolved.incident.resolution == resolved.reason == NOT_REACHED
    assert resolved.incident.severity == "emergency"
    assert resolved.incident.evidence["stable"]["performance"]["drop"] > 0.15
    assert made.under_incident() == set()
    assert made.evaluate((MODEL, 1), LATER, GONE) == []


def test_an_arm_that_comes_back_is_judged_by_what_it_does_then() -> None:
    """Its old verdict opens nothing; new labels that contradict do. What was measured stays to be looked at."""
    made, log, x = book(), Log(), rows(8, 600)
    contradicted(made, arrived(log.records(x)), x)
    for standing in (SERVING, GONE):
        made.evaluate((MODEL, 1), LATER, standing)
    state = made.arms[Arm(MODEL, 1, "stable")]
    severity = state.alarm.severity
    assert severity is Severity.EMERGENCY
    assert made.evaluate((MODEL, 1), LATER, SERVING) == []
    assert state.alarm == AlarmState()
    assert state.labelled == 600
    contradicted(made, arrived(log.records(x)), x)
    assert Act.OPEN in acts(made.evaluate((MODEL, 1), LATER, SERVING))


def test_a_version_that_gets_no_requests_now_is_known_as_such_after_a_restart() -> None:
    """Leaving is stored with the arm."""
    made = book()
    made.enter(arrived(Log().records(rows(9, 200))))
    made.evaluate((MODEL, 1), LATER, SERVING)
    made.changes()
    made.evaluate((MODEL, 1), LATER, GONE)
    again = book()
    again.restore(made.changes())

    assert again.arms[Arm(MODEL, 1, "stable")].retired


def test_when_an_arm_last_answered_does_not_depend_on_the_order_of_reading() -> None:
    """It is the end of its last slot of time."""
    arrivals = arrived(Log().records(rows(10, 60)))
    forth, back = book(), book()
    forth.enter(arrivals[:1])
    back.enter(arrivals[:1])
    for each in arrivals[1:]:
        forth.enter([each])
    for each in reversed(arrivals[1:]):
        back.enter([each])
    one, other = (made.arms[Arm(MODEL, 1, "stable")] for made in (forth, back))

    assert one == other
    assert 0 <= one.answered_at - arrivals[-1].at <= 1.0


POLICY = parse_policy(
    {
        "model": MODEL,
        "variants": [
            {"name": "stable", "version": 3, "weight": 10_000},
            {"name": "old", "version": 2, "weight": 0},
            {"name": "beta", "version": 4, "weight": 0},
        ],
        "rules": [{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "beta"}],
        "shadows": [{"version": 5}],
    }
)


@pytest.mark.parametrize(
    ("version", "arm", "silent_s", "counts"),
    [
        (3, "stable", 1e7, True),
        (3, "canary", 0.0, False),
        (3, SHADOW_ARM, 0.0, False),
        (3, "", PINNED_FOR_S, True),
        (3, OTHER_ARM, PINNED_FOR_S, True),
        (3, "", PINNED_FOR_S + 1, False),
        (2, "old", PINNED_FOR_S, True),
        (2, "old", PINNED_FOR_S + 1, False),
        (4, "beta", 1e7, True),
        (5, SHADOW_ARM, 1e7, True),
        (6, "stable", 0.0, False),
    ],
)
def test_the_policy_tells_which_arms_are_reached(version: int, arm: str, silent_s: float, counts: bool) -> None:
    """By share, rule or copy, however silent clients are; by the version in the URL, while they are not."""
    assert reach_of(POLICY, version).counts(arm, LATER - silent_s, LATER) is counts


@pytest.mark.parametrize(("version", "serves"), [(2, False), (3, True), (4, False), (5, False), (6, False)])
def test_only_a_share_of_the_traffic_can_be_taken_back(version: int, serves: bool) -> None:
    """A dark launch, a cohort by rule and a shadow have none."""
    assert reach_of(POLICY, version).serves is serves


def test_no_arm_of_a_model_without_policy_is_reached_but_by_the_version_in_the_url() -> None:
    """Whoever deletes a policy is done with its variants."""
    reach = reach_of(None, 3)

    assert not reach.counts("stable", LATER, LATER)
    assert reach.counts("", LATER, LATER)
