"""docs/clients.md states the codes of the code: every kind of error, and which may be retried."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest

from router.gateway.statuses import RETRY_AFTER_S, STATUSES, headers_of
from serving.protocol.errors import RETRIABLE, ErrorKind

PAGE = (Path(__file__).parents[3] / "docs" / "clients.md").read_text()
ROWS = {
    kind: (int(http), code)
    for kind, http, code in re.findall(r"^\| `(\w+)` \| (\d{3}) \| ([A-Z_]+) \|", PAGE, re.MULTILINE)
}
CODES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


@pytest.mark.parametrize("kind", ErrorKind, ids=lambda kind: kind.name.lower())
def test_the_page_has_the_codes_of_every_kind_of_error(kind: ErrorKind) -> None:
    """Over HTTP and over gRPC."""
    assert ROWS[kind.name.lower()] == (STATUSES[kind].http, CODES[STATUSES[kind].grpc])


def test_the_page_has_no_other_kinds() -> None:
    """A kind that is gone leaves the page."""
    assert len(ROWS) == len(ErrorKind)


def test_the_page_says_which_errors_to_retry() -> None:
    """Those, and only those, that carry Retry-After."""
    sentence = re.search(r"\*\*Retry only (.*?)\*\*", PAGE)
    assert sentence is not None
    named = set(re.findall(r"`(\w+)` \(\d+\)", sentence[1]))

    assert named == {kind.name.lower() for kind in RETRIABLE}
    assert {kind for kind in ErrorKind if (b"retry-after", b"%d" % RETRY_AFTER_S) in headers_of(kind)} == RETRIABLE
