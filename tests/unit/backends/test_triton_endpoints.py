"""Which Triton is asked, which is not, and how often one that is gone is looked for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from serving.backends.outgoing import Address
from serving.backends.triton_client import TritonClient
from serving.backends.triton_endpoints import MAX_PAUSE_S, Endpoints, pause_s
from serving.backends.triton_errors import EndpointLost
from serving.protocol.errors import ErrorKind, ServingError
from tests.waiting import until

NOBODY = Address("grpc", "127.0.0.1", 9)


def servers(probe_error: Exception | None, repaired: list[str], *, period_s: float = 0.01) -> Endpoints:
    """One server whose probe raises, or finds all well."""

    async def probe(client: TritonClient) -> str | None:
        if probe_error is not None:
            raise probe_error
        return None

    async def repair(client: TritonClient) -> None:
        repaired.append(client.address.netloc)

    return Endpoints([TritonClient(NOBODY, "m", "", connections=1, timeout_s=5.0)], probe, repair, period_s=period_s)


def test_pauses_double_up_to_a_bound() -> None:
    """A server that is gone costs next to nothing, and is found again within half a minute."""
    pauses = [pause_s(2.0, failed) for failed in range(1000)]

    assert pauses[0] == 2.0
    assert all(later == min(2 * earlier, MAX_PAUSE_S) for earlier, later in pairwise(pauses))
    assert pause_s(60.0, 5) == 60.0, "a period beyond the bound is the operator's wish"


@pytest.mark.asyncio
async def test_a_server_that_is_away_gets_no_requests_and_no_repairs() -> None:
    """There is nobody to repair; the reason is told to operators and clients."""
    repaired: list[str] = []
    endpoints = servers(EndpointLost("connection refused"), repaired)
    endpoints.start()
    await until(lambda: endpoints.troubles() == {"127.0.0.1:9": "connection refused"})
    await until(lambda: endpoints._endpoints[0].failed_probes >= 3)

    with pytest.raises(ServingError, match=r"no Triton can answer now.*connection refused") as refused:
        endpoints.choose()

    assert refused.value.kind is ErrorKind.UNAVAILABLE
    assert repaired == []
    await endpoints.close()


@pytest.mark.asyncio
async def test_a_server_that_answers_wrongly_is_repaired() -> None:
    """Its model may have died while the server lives."""
    repaired: list[str] = []
    endpoints = servers(ServingError(ErrorKind.MODEL_FAILED, "stub is not healthy"), repaired)
    endpoints.start()
    await until(lambda: repaired)
    await endpoints.close()


@pytest.mark.asyncio
async def test_an_overloaded_server_is_a_healthy_one() -> None:
    """A refused probe must not open the breaker: that would send its load to the others."""
    endpoints = servers(ServingError(ErrorKind.OVERLOADED, "queue is full"), [])
    endpoints.start()
    endpoints._endpoints[0].suspect()
    await until(lambda: not endpoints._endpoints[0]._suspected.is_set())

    assert endpoints.troubles() == {"127.0.0.1:9": None}
    await endpoints.close()
