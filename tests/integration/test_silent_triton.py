"""A Triton that is paused takes connections and says nothing: no call to it may wait for ever."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from serving.backends.outgoing import parse_address
from serving.backends.triton import TritonBackend, TritonOptions
from serving.backends.triton_client import GRPC, HTTP, TritonClient
from serving.backends.triton_errors import EndpointLost
from serving.protocol.errors import ErrorKind, ServingError


@pytest.fixture
def silent() -> Iterator[str]:
    """Lend the address of somebody who accepts connections, by the kernel's own doing, and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


CALLS: dict[str, Callable[[TritonClient], object]] = {
    "load": TritonClient.load,
    "unload": TritonClient.unload,
    "signature": TritonClient.signature,
    "infer": lambda client: client.infer({"x": np.ones((1, 4), np.float32)}, ()),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("scheme", [GRPC, HTTP])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_ends_when_its_time_is_up(silent: str, scheme: str, call: Callable[[TritonClient], object]) -> None:
    """As at a server that is gone, so that another one is asked."""
    client = TritonClient(parse_address(f"{scheme}://{silent}", (scheme,)), "m", "", connections=1, timeout_s=0.3)

    with pytest.raises(EndpointLost, match=f"Triton at {silent} has not answered within 0.3 s"):
        call(client)


@pytest.mark.timeout(20)
def test_a_version_is_not_refused_for_it(silent: str) -> None:
    """It is tried again: the server may wake up."""
    backend = TritonBackend(
        TritonOptions(urls=f"grpc://{silent},http://{silent}", model="m", manage=True, timeout_s=0.3)
    )

    with pytest.raises(ServingError) as caught:
        backend.load()

    assert caught.value.kind is ErrorKind.UNAVAILABLE
