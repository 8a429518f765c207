"""What operators see of the monitor, and how they keep it from moving traffic, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.labels import Label, Pairing
from tests.admin import AdminWorld
from tests.command_line import Shepherd, shepherd_on
from tests.watched import MODEL, SETTINGS, Log, arrived, profile, rows, truth


def alarmed_book() -> Book:
    """A version that was well for a while; then a feature moved, and labels contradict it."""
    document = encode_profile(profile())
    made, log = Book(SETTINGS, lambda _model, _version: document), Log()
    for seed, shift, wrong in ((1, 0.0, 0.0), (2, 1.5, 0.5)):
        x = rows(seed, 800, shift=shift)
        kept = made.enter(arrived(log.records(x)))
        labels = truth(x, wrong=wrong).tolist()
        made.learn(
            MODEL,
            [
                Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at))
                for each, value in zip(kept, labels, strict=True)
            ],
        )
        made.judge(1e12)
    return made


@pytest.fixture
def shepherd(tmp_path: Path) -> Iterator[Shepherd]:
    """Run a command against a live admin API over such a book."""
    world = AdminWorld(tmp_path)
    world.watch.known = alarmed_book()
    with shepherd_on(world) as run:
        yield run


def test_drift_says_what_moved_and_by_what_its_rows_are_told(shepherd: Shepherd) -> None:
    """The column under alarm, and the feature that explains it."""
    shown = shepherd("drift", MODEL)
    (version,) = json.loads(shepherd("drift", MODEL, "-o", "json").stdout)["versions"]
    explanation = version["arms"][0]["explanation"]

    assert shown.exit_code == 0, shown.output
    assert "told from quiet rows" in shown.output
    assert next(iter(explanation["features"])) == "x[0]"
    assert (explanation["rows"], explanation["quiet_rows"]) == (200, 512)


def test_performance_shows_labels_estimate_and_second_opinion_side_by_side(shepherd: Shepherd) -> None:
    """The alarm is by labels; the estimate sees nothing of labels that changed; ADWIN saw the change."""
    shown = shepherd("performance", MODEL)
    (version,) = json.loads(shepherd("performance", MODEL, "-o", "json").stdout)["versions"]
    (arm,) = version["arms"]

    assert shown.exit_code == 0, shown.output
    assert "emergency" in shown.output
    assert "labels ago" in shown.output
    assert arm["severity"] == "emergency"
    assert arm["baseline"]["kind"] == "profile"
    assert arm["adwin"]["changes"] >= 1
    assert arm["estimate"]["severity"] == "ok"
    assert set(arm["estimate"]["metrics"]) == {"accuracy"}


def test_rollbacks_are_held_and_released_with_a_reason(shepherd: Shepherd) -> None:
    """Without one nothing is tried."""
    held = shepherd("hold", MODEL, "--reason", "labels of today are wrong")
    shown = shepherd("performance", MODEL)
    released = shepherd("hold", MODEL, "--release", "--reason", "mended")

    assert held.exit_code == 0, held.output
    assert "held: labels of today are wrong" in held.output
    assert "automatic rollbacks are held" in shown.output
    assert "allowed" in released.output
    assert shepherd("hold", MODEL).exit_code == 2
