"""Header blocks are read as RFC 7541 has them, with a dynamic table of no size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.http.http2.headers import MAX_LIST_BYTES, BrokenBlock, header, read_head, status
from router.gateway.http.http2.huffman import decode_huffman

#: All byte values in order, as python-hyper's hpack 4.2 encodes them.
EVERY_BYTE = bytes.fromhex(
    "ffc7fffd8fffffe2fffffe3fffffe4fffffe5fffffe6fffffe7fffffe8ffffeafffffff3fffffa7fffffabffffffdfffffebfffffecfffff"
    "edfffffeefffffefffffff0ffffff1ffffff2fffffffbfffffcffffffd3fffffd7fffffdbfffffdffffffe3fffffe7fffffebfffffed4fe3"
    "f9ffaffcabf1febfafefe7fdfd2cbb00089969b71d79fb9f7fff20ffbff3ff50ddbd7f061c58f265cd9f469d5af66dddbf871e5f9cff7ff7"
    "fffc3ff9ffe45fff4719242cb34e6e9d68a6a3d7dac426defe3cfaf7fffbfe7ffbffdffffffcfffe6ffff4bfff9ffffa3fffd3ffff53fffd"
    "5ffffb3fffeb7fffdaffffb7ffff73fffeeffffdeffffebffffbfffffd9ffffdbfffebffffe0ffffeeffffc3ffff8bffff1ffffe4fffee7f"
    "ffb1ffff97fffd9ffffcdffff9fffffbffffdafffeeffff4ffffb7fffee7fffe8ffffd3fffdeffffd5fffeeffffbdffffe1fffdfffff7fff"
    "ff5ffffecffff07fff87fffe0ffff17fffedffff87ffff77fffeffffeaffff8bfffe3ffff93ffff87fffcbffff37ffff1fffff83ffffe1ff"
    "febfffe3ffff3fffff2ffffa3ffffd9fffff17ffffc7fffff27ffffdefffffbffffff2fffff8fffffb7fff97fff8fffffe6fffffc1fffff8"
    "7ffffe7fffffc5ffffe5fffe4ffff2fffffd1fffff4ffffffefffffe3fffffc9fffff97fffb3ffffcffffb7fffcdffff4ffff9ffffd1ffff"
    "cffffeaffffafffffddffffeffffff4fffff5fffffabffffa7ffffd7fffff9bffffecfffffb7fffff3fffffe8fffffd3fffffabfffff5fff"
    "ffff7ffffecfffffdbfffffbbfffff7ffffff0fffffbbf"
)


def test_every_byte_has_its_code() -> None:
    """Checked against another implementation."""
    assert decode_huffman(EVERY_BYTE) == bytes(range(256))


@pytest.mark.parametrize(
    ("block", "method", "path", "headers"),
    [
        # RFC 7541, C.2.1 to C.2.4
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "", b"", {"custom-key": "custom-header"}),
        ("040c2f73616d706c652f70617468", "", b"/sample/path", {}),
        ("100870617373776f726406736563726574", "", b"", {"password": "secret"}),
        ("82", "GET", b"", {}),
        # C.3.1 and C.4.1: a whole request, plain and in Huffman's code
        ("828684410f7777772e6578616d706c652e636f6d", "GET", b"/", {}),
        ("828684418cf1e3c2e5f23a6ba0ab90f4ff", "GET", b"/", {}),
        # C.6.1, an answer with long values
        (
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "",
            b"",
            {
                "cache-control": "private",
                "date": "Mon, 21 Oct 2013 20:13:21 GMT",
                "location": "https://www.example.com",
            },
        ),
    ],
)
def test_the_examples_of_the_standard_are_read(block: str, method: str, path: bytes, headers: dict[str, str]) -> None:
    """Those that need no dynamic table."""
    head = read_head(bytes.fromhex(block))

    assert (head.method, head.path, head.headers) == (method, path, headers)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,150}", fullmatch=True), st.binary(max_size=300), max_size=5))
def test_what_we_write_we_read(sent: dict[str, bytes]) -> None:
    """Names and values of any length."""
    head = read_head(b"\x20" + b"".join([header(name, value) for name, value in sent.items()]))

    assert head.headers == {name: value.decode("latin-1") for name, value in sent.items()}
    assert not head.is_too_large


@pytest.mark.parametrize(("code", "written"), [(200, b"\x88"), (404, b"\x8d"), (431, header(":status", "431"))])
def test_a_status_is_one_byte_where_the_table_has_it(code: int, written: bytes) -> None:
    """And spelt out otherwise."""
    assert status(code) == written


@pytest.mark.parametrize(
    "block",
    [
        "80",  # entry 0
        "be",  # an entry of a dynamic table
        "7e0161",  # a name from one
        "3fe11f",  # a table of 4096 bytes
        "0005",  # cut off
        "00056162",
        "ff",
        "ffffffffffffff",  # an index without end
        "0081ff0161",  # a name of padding only, longer than seven bits when the next one is short
        "008400000000",  # padding that is not ones
        "0084ffffffff0161",  # the end mark
    ],
)
def test_a_block_that_cannot_be_read_is_broken(block: str) -> None:
    """Nothing after it could be understood."""
    with pytest.raises(BrokenBlock):
        read_head(bytes.fromhex(block))


@given(st.binary(max_size=300))
def test_no_bytes_do_worse(block: bytes) -> None:
    """A head, or a broken block."""
    try:
        read_head(block)
    except BrokenBlock:
        return


@pytest.mark.parametrize("count", [1, 2000])
def test_a_list_over_the_limit_is_read_no_further(count: int) -> None:
    """However it comes by its size; method and path come first, so they are known."""
    block = status(200) + b"\x83" + header(":path", "/p")
    block += header("x", b"v" * (MAX_LIST_BYTES // count)) * count

    head = read_head(block + b"\xff")

    assert head.is_too_large
    assert (head.method, head.path) == ("POST", b"/p")
