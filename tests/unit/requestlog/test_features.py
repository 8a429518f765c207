"""Looked-up features: kept with the record, hidden and cut like payloads, and a column of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_an_export_has_one_column_for_all_of_them() -> None:
    """Clients choose their names: a column for each would let clients choose what the table looks like."""
    found = rows_of(a_record(inputs=b"", outputs=b"", features=FOUND))

    assert found.schema == ()
    assert msgspec.json.decode(found.rows[0]["features"]) == FOUND
    assert rows_of(a_record(inputs=b"", outputs=b"")).rows[0]["features"] is None


@given(features=st.dictionaries(st.text(), st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text()))
def test_an_export_has_them_as_they_came(features: dict[str, Any]) -> None:
    """Whole numbers to their last digit, also those that no float is equal to."""
    rows = rows_of(a_record(inputs=b"", outputs=b"", features=features)).rows

    assert msgspec.json.decode(rows[0]["features"] or "{}") == features
