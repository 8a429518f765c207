"""Looked-up features: kept with the record, hidden and cut like payloads, and columns of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.requestlog.features import MAX_FEATURES, looked_up
from router.requestlog.redaction import Redactor, Redactors
from router.requestlog.rows import rows_of
from router.requestlog.rules import LogRule, Redaction
from tests.answers import a_record, a_recorder, a_spool, add_answer, records_on_disk

FOUND: dict[str, Any] = {"delay_7d": 3.5, "trips": 4, "member": True, "profile": '{"name": "ann", "age": 31}'}


def test_features_are_the_parameters_that_are_named_so() -> None:
    """Without their prefix; what the protocol or the policy reads is none, and there is an end to them."""
    many: dict[str, Any] = {f"feature.f{n}": n for n in range(MAX_FEATURES + 5)}

    assert looked_up({"timeout": 5, "feature.x": 1.5, "feature.": 2, "features": "no"}) == {"x": 1.5}
    assert len(looked_up(many)) == MAX_FEATURES


def test_a_record_keeps_them(tmp_path: Path) -> None:
    """With their types."""
    spool = a_spool(tmp_path)
    recorder = a_recorder(spool)
    add_answer(recorder, features=FOUND)
    recorder.flush()

    (record,) = records_on_disk(spool.folder.path)
    assert record.features == FOUND


def test_more_than_the_payload_cap_of_them_is_left_out_and_marked(tmp_path: Path) -> None:
    """As inputs that are too large."""
    spool = a_spool(tmp_path)
    recorder = a_recorder(spool, payload_max_bytes=20)
    add_answer(recorder, inputs=b"", outputs=b"", features={"note": "x" * 30})
    recorder.flush()

    (record,) = records_on_disk(spool.folder.path)
    assert (record.features, record.inputs_truncated) == ({}, True)


@pytest.mark.parametrize(
    ("hidden", "kept"),
    [
        (Redaction("feature.delay_7d", "drop"), {**FOUND, "delay_7d": None}),
        (Redaction("feature.trips", "truncate"), {**FOUND, "trips": None}),
        (Redaction("feature.profile", "truncate", length=3), {**FOUND, "profile": '{"n'}),
        (Redaction("feature.profile", "drop", path="$.name"), {**FOUND, "profile": '{"age":31}'}),
        (Redaction("feature.member", "drop", path="$.name"), {**FOUND, "member": None}),
        (Redaction("delay_7d", "drop"), FOUND),
    ],
)
def test_rules_name_them_with_their_prefix(hidden: Redaction, kept: dict[str, Any]) -> None:
    """In doubt more is hidden: what should be a text and is none is dropped."""
    found = Redactor(LogRule(redact=(hidden,)), b"key").features(FOUND)

    assert found == {name: value for name, value in kept.items() if value is not None}


def test_a_hash_needs_the_key_and_keeps_equal_values_equal(tmp_path: Path) -> None:
    """And acts before a byte reaches the disk."""
    rule = LogRule(redact=(Redaction("feature.profile", "hash"), Redaction("feature.trips", "hash")))
    spool = a_spool(tmp_path)
    recorder = a_recorder(spool, redactors=Redactors({"flights": rule}, b"key"))
    for _ in range(2):
        add_answer(recorder, features=FOUND)
    recorder.flush()

    first, second = records_on_disk(spool.folder.path)
    assert first.features == second.features
    assert first.features["delay_7d"] == 3.5
    assert first.features != Redactor(rule, b"other key").features(FOUND)
    assert b"ann" not in b"".join(segment.read_bytes() for segment in spool.folder.path.glob("*.seg"))


def test_an_export_has_a_column_for_each() -> None:
    """Numbers are real whether or not they have a fraction, so that a column has one type."""
    found = rows_of(a_record(inputs=b"", outputs=b"", features=FOUND))

    assert dict(found.schema) == {
        "feature.delay_7d": "FP64",
        "feature.trips": "FP64",
        "feature.member": "BOOL",
        "feature.profile": "BYTES",
    }
    assert found.rows[0]["feature.trips"] == 4
