"""The book: what records and labels of a version amount to, whoever reads them, in whatever portions."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from router.drift.building import build_profile, columns_of
from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.counting import Kept, count, decode_counts, encode_counts
from router.monitor.evaluation import Standing
from router.monitor.incident import Transition
from router.monitor.labels import Label, Pairing
from router.monitor.reach import Reach
from router.monitor.state import SHADOW_ARM, Arm, encode
from router.performance.escalation import Act
from router.performance.severity import Severity
from router.requestlog.record import NOISE, SHADOW
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors
from tests.watched import MODEL, SETTINGS, START, Log, arrived, profile, rows, truth

PROFILE = profile()
DOCUMENT = encode_profile(PROFILE)
ARM = Arm(MODEL, 1, "stable")
REACH = Reach(frozenset({"stable"}))
LATER = START + 1e6


def book(document: bytes | None = DOCUMENT) -> Book:
    return Book(SETTINGS, lambda _model, _version: document)


def labelled(kept: list[Kept], values: list[float], delay_s: float = 60.0) -> list[Pairing]:
    return [
        Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at + delay_s))
        for each, value in zip(kept, values, strict=True)
    ]


def evaluate(made: Book, target: int | None = None) -> list[Transition]:
    return made.evaluate((MODEL, 1), LATER, Standing(REACH, target=target))


def test_shifted_inputs_are_an_incident_of_warning() -> None:
    """One feature moved by a deviation: after two windows an alarm, which the incident names."""
    made, log = book(), Log()
    made.enter(arrived(log.records(rows(2, 400))))
    made.judge(LATER)
    assert evaluate(made) == []
    made.enter(arrived(log.records(rows(3, 800, shift=1.0))))
    made.judge(LATER)
    (opened,) = evaluate(made)

    assert opened.act is Act.OPEN
    assert opened.incident.severity == "warning"
    assert "x[0]" in opened.incident.evidence["stable"]["drift"]
    assert "x[1]" not in opened.incident.evidence["stable"]["drift"]


def test_a_second_answer_of_the_primarys_version_is_no_arm() -> None:
    """It was asked for the noise floor of a shadow; a shadow of another version is an arm."""
    made = book()
    (record,) = Log().records(rows(2, 1))
    replays = [
        msgspec.structs.replace(record, kind=SHADOW, variant="", reason=reason, primary_id="r1", version=version)
        for version, reason in ((1, NOISE), (3, "shadow"))
    ]
    made.enter(arrived([record, *replays]))

    assert set(made.arms) == {ARM, Arm(MODEL, 3, SHADOW_ARM)}


def test_labels_that_contradict_roll_back_once() -> None:
    """A collapse is an emergency: open, retrain, roll back, and nothing more while it lasts."""
    made, log = book(), Log()
    x = rows(4, 600)
    kept = made.enter(arrived(log.records(x)))
    made.learn(MODEL, labelled(kept, truth(x, wrong=0.5).tolist()))
    first, again = evaluate(made, target=7), evaluate(made, target=7)

    assert [each.act for each in first] == [Act.OPEN, Act.RETRAIN, Act.ROLL_BACK]
    assert first[-1].target == 7
    assert again == []
    assert made.arms[ARM].alarm.severity is Severity.EMERGENCY
    assert made.arms[ARM].lag_total_s == 600 * 60.0


def test_sound_labels_are_no_incident() -> None:
    """As wrong as the baseline: nothing."""
    made, log = book(), Log()
    x = rows(5, 2000)
    made.learn(MODEL, labelled(made.enter(arrived(log.records(x))), truth(x).tolist()))

    assert made.arms[ARM].labelled == 2000
    assert evaluate(made) == []


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 600), max_size=6))
def test_a_restart_changes_nothing(cuts: list[int]) -> None:
    """A book that is stored, dropped and read back at any moments ends as one that never was."""
    x = rows(6, 600, shift=0.5)
    records = arrived(Log().records(x))
    whole = book()
    whole.learn(MODEL, labelled(whole.enter(records), truth(x).tolist()))
    whole.judge(LATER)
    stored: dict[str, bytes] = {}
    bounds = sorted({0, *cuts, 600})
    for low, high in itertools.pairwise(bounds):
        part = book()
        part.restore(stored)
        part.learn(MODEL, labelled(part.enter(records[low:high]), truth(x)[low:high].tolist()))
        stored |= part.changes()
    last = book()
    last.restore(stored)
    last.judge(LATER)

    assert last.arms[ARM].verdict == whole.arms[ARM].verdict
    assert last.arms[ARM].windows == whole.arms[ARM].windows == 3
    assert last.arms[ARM].alarm == whole.arms[ARM].alarm


def test_what_no_evaluation_has_taken_is_still_news_after_a_restart() -> None:
    """It is stored with what it is about, and taken out with what became of it: evaluated once, whoever dies."""
    first, second, third = book(), book(), book()
    first.enter(arrived(Log().records(rows(13, 400))))
    first.judge(LATER)
    stored = first.changes()
    second.restore(stored)
    assert second.stirred() == first.stirred() == {(MODEL, 1)}
    third.restore(stored | second.changes())

    assert third.stirred() == set()
    assert third.changes() == {}


@settings(max_examples=20)
@given(owners=st.lists(st.integers(0, 3), min_size=400, max_size=400))
def test_four_consumers_count_what_one_counts(owners: list[int]) -> None:
    """Counts add up, in whatever order they come: whoever read which record, the state is the same, bit for bit."""
    arrivals = arrived(Log().records(rows(7, 400, shift=0.4)))
    alone, together = book(), book()
    alone.enter(arrivals)
    together.enter(arrivals[:1])  # the first one brings the reference
    for owner in (2, 0, 3, 1):
        mine = [each for each, number in zip(arrivals[1:], owners[1:], strict=True) if number == owner]
        counts, _ = count(mine, together.references.of, SETTINGS.window)
        together.add(decode_counts(encode_counts(counts)))
    for each in (alone, together):
        each.judge(LATER)

    assert alone.arms[ARM].windows == 2
    assert encode(together.arms[ARM]) == encode(alone.arms[ARM])


def test_a_version_without_profile_makes_its_own() -> None:
    """From its first rows, marked as such; what shifts afterwards is seen."""
    made, log = book(None), Log()
    made.enter(arrived(log.records(rows(8, 300))))
    assert made.profile(MODEL, 1) is None
    made.judge(LATER)
    own = made.profile(MODEL, 1)
    assert own is not None
    assert own.self_referenced
    made.enter(arrived(log.records(rows(9, 800, shift=1.0))))
    made.judge(LATER)
    (opened,) = evaluate(made)
    assert opened.incident.self_referenced


def test_a_profile_of_another_model_is_refused_with_the_reason() -> None:
    """The version then makes its own."""
    other = encode_profile(profile()).replace(b'"tensor":"x"', b'"tensor":"z"')
    made = book(other)
    made.enter(arrived(Log().records(rows(10, 300))))
    made.judge(LATER)
    own = made.profile(MODEL, 1)

    assert "no input 'z'" in made.versions[MODEL, 1].refused
    assert own is not None
    assert own.self_referenced


def test_a_feature_of_the_profile_that_the_stream_never_has_is_an_incident_that_names_it() -> None:
    """Every request has one entry of it for its two rows: the model answers, and nobody would look at the feature."""
    x = rows(16, 400)
    columns = columns_of({"x": rows(0, 5000), "offset": rows(1, 5000)[:, :1]}, "input")
    made = book(encode_profile(build_profile(columns)))
    asked = [
        msgspec.structs.replace(
            record, inputs=pack_tensors([to_tensor("x", x[i : i + 2]), to_tensor("offset", x[i, :1])])
        )
        for i, record in enumerate(Log().records(x[:-1]))
    ]
    made.enter(arrived(asked))
    made.judge(LATER)
    (opened,) = evaluate(made)

    assert opened.incident.severity == "warning"
    assert opened.incident.evidence["stable"]["faults"] == [{"fault": "schema", "column": "offset", "share": 1.0}]


def test_a_profile_that_is_attached_later_takes_over() -> None:
    """The drift begins anew against it; what labels said is kept."""
    documents: list[bytes | None] = [None]
    made = Book(SETTINGS, lambda _model, _version: documents[0])
    made.enter(arrived(Log().records(rows(11, 400))))
    made.judge(LATER)
    documents[0] = DOCUMENT
    made.renew()
    found = made.profile(MODEL, 1)

    assert found == PROFILE
    assert made.arms[ARM].slots == {}


def test_labels_of_the_wrong_kind_are_counted() -> None:
    """Not 0 or 1, or for another number of rows: nothing is learnt of them."""
    made = book()
    kept = made.enter(arrived(Log().records(rows(12, 2))))
    wrong = [
        Pairing(kept[0].prediction, Label(MODEL, "r1", (3.0,), START)),
        Pairing(kept[1].prediction, Label(MODEL, "r2", (1.0, 0.0), START)),
    ]
    made.learn(MODEL, wrong)

    assert made.labels[MODEL].invalid == 2
    assert made.arms[ARM].labelled == 0
