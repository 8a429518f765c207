"""gRPC over HTTP/2: the frame is read to the last bit, and what is no frame is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.grpc.wire import GrpcWire, error_trailers, parse_timeout
from router.gateway.http.http2.headers import read_head
from serving.protocol.errors import ErrorKind, ServingError, invalid

WIRE = GrpcWire()


def framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4, "big") + message


@given(st.binary(max_size=200) | st.integers(60_000, 70_000).map(bytes))
def test_a_framed_message_is_what_was_sent(message: bytes) -> None:
    """Small or large, empty too."""
    unwrapped, coding = WIRE.unwrap(framed(message), {"grpc-encoding": "gzip"})

    assert (bytes(unwrapped), coding) == (message, "")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_the_flag_says_whether_a_message_is_compressed(coding: str) -> None:
    """The header alone only says how, if."""
    assert WIRE.unwrap(framed(b"x", flag=1), {"grpc-encoding": coding}) == (b"x", coding)


@pytest.mark.parametrize(
    ("body", "headers", "kind", "words"),
    [
        (b"", {}, ErrorKind.INVALID, "no message"),
        (b"\0\0\0\0", {}, ErrorKind.INVALID, "cut off"),
        (framed(b"abc", length=4), {}, ErrorKind.INVALID, "3 bytes, its prefix says 4"),
        (framed(b"abc", length=2), {}, ErrorKind.INVALID, "3 bytes, its prefix says 2"),
        (framed(b"a") + framed(b"b"), {}, ErrorKind.INVALID, "prefix says 1"),
        (framed(b"", length=0xFFFFFFFF), {}, ErrorKind.INVALID, "prefix says 4294967295"),
        (framed(b"abc", flag=2), {}, ErrorKind.INVALID, "flag 2"),
        (framed(b"abc", flag=1), {}, ErrorKind.INVALID, "names no compression"),
        (framed(b"abc", flag=1), {"grpc-encoding": "snappy"}, ErrorKind.UNSUPPORTED, "gzip, deflate"),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, headers: dict[str, str], kind: ErrorKind, words: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(ServingError) as failure:
        WIRE.unwrap(body, headers)

    assert failure.value.kind is kind
    assert words in failure.value.message


@given(st.text(max_size=3000))
def test_a_status_message_is_one_header_that_decodes_to_the_message(message: str) -> None:
    """Printable ASCII only, cut where clients would refuse it."""
    try:
        message.encode()
    except UnicodeEncodeError:
        return  # no decoder gives lone surrogates
    trailers = read_head(error_trailers(invalid(message))).headers

    assert trailers["grpc-status"] == "3"
    encoded = trailers["grpc-message"]
    assert re.fullmatch(r"[ -~]*", encoded)
    assert len(encoded) < 8000
    assert message.startswith(unquote(encoded))
    assert len(message) > 500 or unquote(encoded) == message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1S", 1.0), ("250m", 0.25), ("2M", 120.0), ("1H", 3600.0), ("5u", 5e-6), ("7n", 7e-9), ("99999999S", 99999999.0),
     ("", None), ("S", None), ("1", None), ("-1S", None), ("1.5S", None), ("123456789S", None), ("1s", None),
     ("\u0661S", None)],
)  # fmt: skip
def test_a_timeout_is_read_as_the_specification_has_it(text: str, seconds: float | None) -> None:
    """At most eight digits and a unit; anything else counts as none."""
    assert parse_timeout(text) == (None if seconds is None else pytest.approx(seconds))
