"""What a rule hides never reaches the record, whatever the request holds; what it does not name stays as it was."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.requestlog.record import read_records
from router.requestlog.redaction import Redactor, Redactors
from router.requestlog.rules import LogRule, Redaction, parse_rules, read_path
from serving.protocol.arrays import to_array, to_tensor
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.packing import pack_tensors, unpack_tensors
from tests.answers import a_recorder, a_spool, add_answer

KEY = b"k" * 64


def packed(**arrays: Any) -> bytes:
    return pack_tensors([to_tensor(name, np.asarray(array)) for name, array in arrays.items()])


def texts(*values: str) -> Any:
    return np.array(values, dtype=object)


def kept(rule: LogRule, **arrays: Any) -> dict[str, Any]:
    """What is left of these tensors."""
    payload = Redactor(rule, KEY).payload(packed(**arrays))
    assert payload is not None
    return {tensor.name: to_array(tensor) for tensor in unpack_tensors(payload)}


def hide(tensor: str, action: Any, path: str = "", length: int = 16) -> LogRule:
    return LogRule(redact=(Redaction(tensor, action, path, length),))


def test_a_dropped_tensor_is_gone_and_the_others_are_untouched() -> None:
    """Byte for byte."""
    left = kept(hide("email", "drop"), email=texts("a@b.c"), x=[1.5, 2.5])

    assert list(left) == ["x"]
    assert left["x"].tolist() == [1.5, 2.5]


def test_hashes_keep_equal_values_equal_and_need_the_key() -> None:
    """So joins still work, and a list of all addresses does not help."""
    rule = hide("email", "hash")
    left = kept(rule, email=texts("a", "b", "a"))["email"].tolist()
    other = Redactor(rule, b"other").payload(packed(email=texts("a", "b", "a")))

    assert left[0] == left[2] != left[1]
    assert {len(value) for value in left} == {32}
    assert other is not None
    assert to_array(unpack_tensors(other)[0]).tolist() != left


def test_numbers_are_hashed_to_texts_of_the_same_shape() -> None:
    """Customer numbers are names."""
    left = kept(hide("customer", "hash"), customer=np.array([[7, 8], [7, 9]]))["customer"]

    assert left.shape == (2, 2)
    assert left[0, 0] == left[1, 0] != left[1, 1]


def test_texts_are_cut_by_characters_and_numbers_are_dropped_instead() -> None:
    """A number has no beginning that says less."""
    assert kept(hide("note", "truncate", length=3), note=texts("naïve", "ab"))["note"].tolist() == [
        "naï".encode(),
        b"ab",
    ]
    assert kept(hide("note", "truncate"), note=[1.0]) == {}


@pytest.mark.parametrize(
    ("path", "action", "before", "after"),
    [
        ("$.user.mail", "drop", {"user": {"mail": "a@b", "age": 3}}, {"user": {"age": 3}}),
        ("$.user.mail", "truncate", {"user": {"mail": "a@b"}}, {"user": {"mail": "a@"}}),
        ("$.mails[*]", "truncate", {"mails": ["abc", "def"]}, {"mails": ["ab", "de"]}),
        ("$.mails[1]", "drop", {"mails": ["abc", "def"]}, {"mails": ["abc", None]}),
        ("$['a b'].c", "drop", {"a b": {"c": 1}}, {"a b": {}}),
        ("$.absent.deep", "drop", {"user": 1}, {"user": 1}),
        ("$.n", "truncate", {"n": 12345}, {}),
    ],
)
def test_a_path_reaches_into_texts_that_are_json(path: str, action: str, before: Any, after: Any) -> None:
    """What it does not meet stays."""
    left = kept(hide("doc", action, path, length=2), doc=texts(json.dumps(before)))

    assert json.loads(left["doc"][0]) == after


def test_a_text_that_should_be_json_and_is_not_is_hidden_whole() -> None:
    """In doubt, more is hidden."""
    assert kept(hide("doc", "drop", "$.a"), doc=texts("a@b.c", '{"a":'))["doc"].tolist() == [b"", b""]


@given(noise=st.binary(max_size=64))
def test_a_payload_that_cannot_be_read_is_left_out(noise: bytes) -> None:
    """Never kept as it came."""
    payload = struct.pack("<I", 2**31) + noise

    assert Redactor(hide("x", "hash"), KEY).payload(payload) is None


@given(secret=st.text(min_size=9, max_size=40), action=st.sampled_from(["drop", "hash", "truncate"]))
def test_a_hidden_value_is_nowhere_in_the_payload(secret: str, action: str) -> None:
    """Whole, or inside JSON."""
    raw = secret.encode()
    for rule, value in (
        (hide("t", action, length=2), secret),
        (hide("t", action, "$.a[*]", length=2), json.dumps({"a": [secret]}, ensure_ascii=False)),
    ):
        payload = Redactor(rule, KEY).payload(packed(t=texts(value), x=[1.0]))
        assert payload is not None
        assert raw not in payload


def test_the_sticky_key_can_be_hidden_too() -> None:
    """It may be a user's name."""
    assert Redactor(LogRule(key="drop"), KEY).sticky_key("ann") == ""
    assert len(Redactor(LogRule(key="hash"), KEY).sticky_key("ann")) == 32
    assert Redactor(LogRule(), KEY).sticky_key("ann") == "ann"


def test_rules_act_before_bytes_reach_the_disk(tmp_path: Any) -> None:
    """By model, `*` for the rest; a cap of the model's own leaves payloads out."""
    spool = a_spool(tmp_path)
    rules = parse_rules(
        {
            "models": {
                "m": {"redact": [{"tensor": "t", "action": "hash"}]},
                "small": {"payload_max_bytes": 8},
                "*": {"redact": [{"tensor": "t", "action": "drop"}], "key": "drop"},
            }
        }
    )
    recorder = a_recorder(spool, spool.folder.incarnation, redactors=Redactors(rules, KEY))
    for n, model in enumerate(("m", "small", "other"), start=1):
        add_answer(recorder, n, model=model, inputs=packed(t=texts("a@b.c"), x=[1.0]))
    recorder.flush()

    written = b"".join(path.read_bytes() for path in spool.folder.path.glob("*.seg"))
    records = {record.model: record for record in read_records(written).records}
    assert b"a@b.c" not in written
    assert [tensor.name for tensor in unpack_tensors(records["m"].inputs)] == ["t", "x"]
    assert (records["small"].inputs, records["small"].inputs_truncated) == (b"", True)
    assert [tensor.name for tensor in unpack_tensors(records["other"].inputs)] == ["x"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"model": {}}, "model"),
        ({"models": {"m": {"redact": [{"tensor": "x", "action": "burn"}]}}}, "action"),
        ({"models": {"m": {"sample_bp": 10_001}}}, "sample_bp"),
        ({"models": {"m": {"redact": [{"tensor": "x", "action": "drop", "path": "user"}]}}}, "'user'"),
        ([], "expected"),
    ],
)
def test_rules_that_are_none_are_refused(document: Any, told: str) -> None:
    """With the place; a gateway that does not understand them does not start."""
    with pytest.raises(ServingError) as caught:
        parse_rules(document or [1])

    assert caught.value.kind is ErrorKind.INVALID
    assert told in caught.value.message.lower()


def test_paths_are_read_as_people_write_them() -> None:
    """Members, places, all places, quoted names."""
    assert read_path("$.a.b[0][*]['c d']") == ("a", "b", 0, None, "c d")
