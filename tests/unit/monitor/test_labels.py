"""Labels of every kind: names of classes, several classes, shadows, versions without a baseline, nonsense."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from router.drift.building import build_profile, columns_of
from router.drift.profile import Profile, encode_profile
from router.monitor.book import Book
from router.monitor.counting import Kept, shadow_id
from router.monitor.labels import Label, Pairing, metrics_of, read_label
from router.monitor.state import SHADOW_ARM, Arm
from router.performance.baseline import Metric, Task
from router.performance.metrics import baselines, macro_f1
from router.performance.severity import Severity
from router.requestlog.record import SHADOW, Record
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors
from tests.watched import MODEL, SETTINGS, Log, arrived, rows, scores, truth

CLASSES = ("cat", "dog", "eel")
ARM = Arm(MODEL, 1, "stable")
RNG = np.random.default_rng(0)


def drawn(count: int, wrong: float = 0.1) -> tuple[Any, Any, Any]:
    """Draw probabilities [count, 3], names of the likeliest classes, and the numbers of the true ones."""
    probabilities = RNG.dirichlet((1, 1, 1), count)
    said = probabilities.argmax(axis=1)
    true = np.where(RNG.random(count) < wrong, (said + 1) % 3, said)
    return probabilities, np.array(CLASSES, dtype=object)[said], true


def classes_profile() -> Profile:
    probabilities, names, true = drawn(3000)
    return build_profile(
        [
            *columns_of({"x": RNG.normal(size=(3000, 2))}, "input"),
            *columns_of({"label": names, "p": probabilities}, "output"),
        ],
        task=Task.MULTICLASS,
        score="label",
        classes=CLASSES,
        probabilities=("p[0]", "p[1]", "p[2]"),
        labels=true.astype(np.float64),
    )


PROFILE = classes_profile()


def named_answers(probabilities: Any, names: Any) -> list[Record]:
    """Record one answer for each row: the class's name, and the probabilities."""
    made = Log().records(np.zeros((len(names), 3)))
    return [
        msgspec.structs.replace(
            record,
            inputs=pack_tensors([to_tensor("x", np.zeros((1, 2)))]),
            outputs=pack_tensors(
                [to_tensor("label", np.array([[name]], dtype=object)), to_tensor("p", row[None].astype(np.float32))]
            ),
        )
        for record, name, row in zip(made, names, probabilities, strict=True)
    ]


def labelled(kept: list[Kept], values: list[Any]) -> list[Pairing]:
    return [
        Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at))
        for each, value in zip(kept, values, strict=True)
    ]


@pytest.mark.parametrize("as_names", [True, False])
def test_labels_may_be_names_of_classes_or_their_numbers(as_names: bool) -> None:
    """Accuracy, macro F1 and log loss of several classes, as scikit-learn has them."""
    made = Book(SETTINGS, lambda _model, _version: encode_profile(PROFILE))
    probabilities, names, true = drawn(600)
    kept = made.enter(arrived(named_answers(probabilities, names)))
    made.learn(MODEL, labelled(kept, [CLASSES[i] if as_names else float(i) for i in true.tolist()]))
    found = metrics_of(made.arms[ARM], Task.MULTICLASS)
    said = [CLASSES.index(name) for name in names]

    assert made.labels[MODEL].joined == 600
    assert found["accuracy"].value == pytest.approx(np.mean(np.array(said) == true))
    assert found["f1"].value == pytest.approx(f1_score(true, said, average="macro"))
    expected = log_loss(true, probabilities, labels=[0, 1, 2])
    assert found["log_loss"].value == pytest.approx(expected, rel=1e-4)


def test_wrong_names_bring_the_alarm_and_unknown_ones_are_counted() -> None:
    """A class that is mostly mistaken is an emergency; a name that no class has tells nothing."""
    made = Book(SETTINGS, lambda _model, _version: encode_profile(PROFILE))
    probabilities, names, true = drawn(600, wrong=0.7)
    kept = made.enter(arrived(named_answers(probabilities, names)))
    made.learn(MODEL, labelled(kept, [*["newt"] * 5, *[CLASSES[i] for i in true[5:].tolist()]]))

    assert made.labels[MODEL].invalid == 5
    assert made.arms[ARM].alarm.severity is Severity.EMERGENCY


def test_the_interval_of_macro_f1_holds_what_it_promises() -> None:
    """About 19 times in 20."""
    held, full = 0, drawn(200_000, wrong=0.3)
    numbers = np.array([CLASSES.index(name) for name in full[1]], dtype=np.float64)
    target = macro_f1(numbers, full[2].astype(np.float64)).value
    for start in range(0, 200_000, 1000):
        found = macro_f1(numbers[start : start + 1000], full[2][start : start + 1000].astype(np.float64))
        held += found.low <= target <= found.high

    assert held >= 182


def test_a_baseline_of_log_loss_needs_probabilities() -> None:
    """Without them, accuracy and F1 remain."""
    said, true = np.array([0.0, 1, 2, 1] * 50), np.array([0.0, 1, 1, 1] * 50)

    assert [each.metric for each in baselines(Task.MULTICLASS, said, true)] == [Metric.ACCURACY, Metric.F1]


def test_a_version_without_profile_is_held_to_its_own_first_labels() -> None:
    """Marked as such; what falls below them alarms, what is like them does not."""
    settings = msgspec.structs.replace(SETTINGS, baseline_labels=500)
    made, log = Book(settings, lambda _model, _version: None), Log()
    made.enter(arrived(log.records(rows(1, 400))))
    made.judge(log.at + 10)
    for seed, wrong in ((2, 0.0), (3, 0.0), (4, 0.5)):
        x = rows(seed, 600)
        made.learn(MODEL, labelled(made.enter(arrived(log.records(x))), truth(x, wrong=wrong, seed=seed).tolist()))
        standard = made.standard(MODEL, 1)
        assert standard is not None
        assert (standard.is_own, standard.task) == (True, Task.BINARY)
        severity = made.arms[ARM].alarm.severity
        assert severity is (Severity.EMERGENCY if wrong else Severity.OK)


def test_a_shadow_is_judged_by_the_label_of_the_request_that_it_copied() -> None:
    """Its answer lies beside the primary's, under a name of its own."""
    document = encode_profile(profile_with_scores())
    made, log = Book(SETTINGS, lambda _model, _version: document), Log()
    (record,) = log.records(rows(1, 1))
    copy = msgspec.structs.replace(record, id="router-2#1", kind=SHADOW, version=2, primary_id=record.request_id)
    kept = made.enter(arrived([record, copy]))
    made.learn(MODEL, labelled(kept, [1.0, 1.0]))

    assert [each.request_id for each in kept] == ["r1", shadow_id("r1", 2)]
    assert made.shadows(MODEL) == [2]
    assert [made.arms[arm].labelled for arm in (ARM, Arm(MODEL, 2, SHADOW_ARM))] == [1, 1]


def profile_with_scores() -> Profile:
    x = rows(0, 500)
    columns = [*columns_of({"x": x}, "input"), *columns_of({"score": scores(x)}, "output")]
    return build_profile(columns, task=Task.BINARY, score="score", labels=truth(x))


@pytest.mark.parametrize("document", [b"null", b"{}", b"[]", b"[null]", b"1e999", b"nonsense", b"[[1]]", b"\xff"])
def test_what_is_no_label_is_none(document: bytes) -> None:
    """Whatever lies in the stream."""
    assert read_label(MODEL, "r", document, "1.0") is None
    assert read_label(MODEL, "r", b"1", "soon") is None
