"""Backends speak to this machine, and to hosts that the operator has named."""

from __future__ import annotations

import pytest

from serving.backends.outgoing import check_host, parse_address
from serving.protocol.errors import ServingError


@pytest.mark.parametrize(
    "url", ["grpc://127.0.0.1:8001", "grpc://localhost:1", "grpc://[::1]:8001", "grpc://gpu-7:8001"]
)
def test_loopback_and_named_hosts_are_accepted(url: str) -> None:
    """Nothing is looked up."""
    address = parse_address(url, ("grpc",))

    assert check_host(address, {"gpu-7"}) is address


@pytest.mark.parametrize("url", ["grpc://169.254.169.254:80", "grpc://127.0.0.1.evil.example:80", "grpc://gpu-8:80"])
def test_all_other_hosts_are_refused(url: str) -> None:
    """With the setting that would allow them."""
    with pytest.raises(ServingError, match="backend_allowed_hosts"):
        check_host(parse_address(url, ("grpc",)), {"gpu-7"})


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "grpc://h", "grpc://h:99999", "http://u:p@h:1", "grpc://h:1/path", "", "grpc://[::1:1"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """With the form that is expected."""
    with pytest.raises(ServingError, match="expected grpc://HOST:PORT or http://HOST:PORT"):
        parse_address(url, ("grpc", "http"))
