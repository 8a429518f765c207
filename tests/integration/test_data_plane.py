"""What happens between a client's bytes and a model: decisions, loss, deadlines, overload, shadows, records."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serving.backends.echo import EchoBackend, EchoOptions
from serving.batching.batcher import BatchLimits
from serving.protocol.arrays import to_array
from serving.protocol.packing import unpack_tensors
from serving.telemetry.metrics_app import scrape
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.held_backend import HeldBackend
from tests.waiting import until

pytestmark = pytest.mark.asyncio

FAIL = 666.0
ONE = [{"name": "stable", "version": 1, "weight": 10_000}]
HALVES = [{"name": "stable", "version": 1, "weight": 5_000}, {"name": "canary", "version": 2, "weight": 5_000}]


def row(name: str, shape: list[int], datatype: str, count: int) -> dict[str, object]:
    """Build a V2 request of one tensor of zeros."""
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": [0] * count}]}


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router without models."""
    async with running_data_plane(f"unix://{valkey_socket}", request_timeout_s=5) as running:
        yield running


async def test_an_answer_carries_its_version_its_variant_and_the_reason(plane: DataPlane) -> None:
    """Headers and body say who answered and why."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(variants=ONE)

    answer = await plane.infer([1, 2, 3, 4])

    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [1, 2, 3, 4]
    assert answer.json()["model_version"] == "1"
    assert answer.headers["x-shepherd-version"] == "1"
    assert answer.headers["x-shepherd-variant"] == "stable"
    assert answer.headers["x-shepherd-reason"] == "only"


async def test_a_key_sticks_to_its_variant_and_a_pin_overrides_it(plane: DataPlane) -> None:
    """The same key always gets the same version; the URL's version always wins."""
    for version in (1, 2):
        await plane.add_replica(version, EchoBackend())
    await plane.set_policy(variants=HALVES, sticky={"by": "header", "name": "x-user-id"})

    seen = {
        user: {(await plane.infer([0], x_user_id=user)).headers.get("x-shepherd-version") for _ in range(3)}
        for user in "abcdefghij"
    }
    pinned = await plane.infer([1, 2, 3, 4], path=f"/v2/models/{MODEL}/versions/2/infer", x_user_id="a")

    assert all(len(versions) == 1 for versions in seen.values())
    assert len(set.union(*seen.values())) == 2
    assert (pinned.headers["x-shepherd-version"], pinned.headers["x-shepherd-reason"]) == ("2", "pin")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v2/models/nope/infer", {"inputs": []}, 404, 'unknown model "nope"'),
        (f"/v2/models/{MODEL}/versions/9/infer", {"inputs": []}, 404, "no version 9"),
        (f"/v2/models/{MODEL}/infer", row("z", [1, 4], "FP32", 4), 400, "'z' is unknown"),
        (f"/v2/models/{MODEL}/infer", row("x", [1, 5], "FP32", 5), 400, "shape"),
        (f"/v2/models/{MODEL}/infer", row("x", [1, 4], "INT64", 4), 400, "INT64"),
        (f"/v2/models/{MODEL}/infer", row("x", [1, 4], "FP32", 3), 400, '"x"'),
        (f"/v2/models/{MODEL}/infer", {"no": "inputs"}, 400, "inputs"),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_refused_with_the_field_named(
    plane: DataPlane, path: str, body: object, status: int, words: str
) -> None:
    """4xx with `{"error": …}` that says which field; the connection and the gateway go on."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(variants=ONE)

    answer = await plane.client.post(path, json=body)

    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert (await plane.infer([0, 0, 0, 0])).status_code == 200


async def test_a_failing_model_gives_500_with_a_request_id_and_no_stack_trace(plane: DataPlane) -> None:
    """The client learns that the model failed, and by which id to ask about it."""
    await plane.add_replica(1, EchoBackend(EchoOptions(fail_on=FAIL)))
    await plane.set_policy(variants=ONE)

    answer = await plane.infer([FAIL, 0, 0, 0])

    assert answer.status_code == 500
    assert answer.headers["x-shepherd-request-id"]
    assert "Traceback" not in answer.text


async def test_a_body_over_the_limit_is_refused_before_it_is_read(valkey_socket: Path) -> None:
    """413, and the connection closes since the rest of the body is not wanted."""
    async with running_data_plane(f"unix://{valkey_socket}", max_body_bytes=1000) as plane:
        answer = await plane.client.post(f"/v2/models/{MODEL}/infer", content=b" " * 5000)

        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["error"]


async def test_calls_wait_for_a_version_whose_replica_is_gone(plane: DataPlane) -> None:
    """A request that finds no replica is answered by the one that comes back."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(variants=ONE)
    await plane.remove_replica(1, abruptly=True)

    waiting = asyncio.create_task(plane.infer([1, 2, 3, 4]))
    await until(lambda: plane.gateway.in_flight)
    await plane.add_replica(1, EchoBackend(), "b")

    assert (await waiting).status_code == 200


async def test_a_deadline_ends_the_wait(plane: DataPlane) -> None:
    """With no replica in time the client gets 504 at its own deadline (V2 `timeout`, microseconds)."""
    await plane.set_policy(variants=ONE)
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0] * 4}

    answer = await plane.client.post(
        f"/v2/models/{MODEL}/infer", json={"inputs": [tensor], "parameters": {"timeout": 100_000}}
    )

    assert answer.status_code == 504
    assert "deadline" in answer.json()["error"]


async def test_a_lost_replica_costs_no_request_when_there_is_another(plane: DataPlane) -> None:
    """Calls in flight on a replica that dies are answered by its sibling."""
    backend = HeldBackend()
    await plane.add_replica(1, backend, "a")
    await plane.add_replica(1, backend, "b")
    await plane.set_policy(variants=ONE)

    with backend.held():
        calls = [asyncio.create_task(plane.infer([float(i), 0, 0, 0])) for i in range(20)]
        await until(lambda: plane.gateway.in_flight == 20)
        await plane.remove_replica(1, "a", abruptly=True)

    answers = await asyncio.gather(*calls)
    assert [answer.status_code for answer in answers] == [200] * 20
    assert [answer.json()["outputs"][0]["data"][0] for answer in answers] == [float(i) for i in range(20)]


async def test_a_draining_replica_answers_what_it_has_and_gets_nothing_new(plane: DataPlane) -> None:
    """Scaling in loses nothing."""
    backend = HeldBackend()
    await plane.add_replica(1, backend, "a")
    leaving = await plane.add_replica(1, backend, "b")
    await plane.set_policy(variants=ONE)

    with backend.held():
        calls = [asyncio.create_task(plane.infer([0, 0, 0, 0])) for _ in range(20)]
        await until(lambda: plane.gateway.in_flight == 20 and leaving.stats()["in_flight"])
        removal = asyncio.create_task(plane.remove_replica(1, "b", abruptly=False))
        await asyncio.sleep(0)
    await removal

    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}


async def test_past_what_it_may_hold_the_gateway_says_429_at_once(valkey_socket: Path) -> None:
    """Overload is refused with Retry-After instead of queued without end."""
    async with running_data_plane(f"unix://{valkey_socket}", max_in_flight=4) as plane:
        backend = HeldBackend()
        await plane.add_replica(1, backend, limits=BatchLimits(max_rows=1))
        await plane.set_policy(variants=ONE)

        with backend.held():
            calls = [asyncio.create_task(plane.infer([0, 0, 0, 0])) for _ in range(10)]
            await until(lambda: sum(call.done() for call in calls) == 6)
        answers = await asyncio.gather(*calls)

    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 6
    assert all(answer.headers["retry-after"] for answer in refused)


async def test_credits_bound_what_a_replica_is_sent_and_the_rest_waits_its_turn(plane: DataPlane) -> None:
    """With two credits, ten requests are answered all the same."""
    server = await plane.add_replica(1, EchoBackend(EchoOptions(delay_ms=10)), max_in_flight=2)
    await plane.set_policy(variants=ONE)

    calls = [asyncio.create_task(plane.infer([0, 0, 0, 0])) for _ in range(10)]
    most = 0.0
    while not all(call.done() for call in calls):
        most = max(most, server.stats()["in_flight"])
        await asyncio.sleep(0.002)

    assert {call.result().status_code for call in calls} == {200}
    assert most <= 2


async def test_a_client_that_leaves_cancels_its_call(plane: DataPlane) -> None:
    """Its place is free at once and the record says cancelled."""
    backend = HeldBackend()
    await plane.add_replica(1, backend)
    await plane.set_policy(variants=ONE)

    reader, writer = await asyncio.open_connection("127.0.0.1", plane.settings.http_port)
    body = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[0,0,0,0]}]}'
    with backend.held():
        writer.write(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await until(lambda: plane.gateway.in_flight)
        writer.close()
        await writer.wait_closed()
        await until(lambda: not plane.gateway.in_flight)

    assert await reader.read() == b""
    await asyncio.sleep(0)
    assert [record.outcome for record in plane.records()] == ["cancelled"]


async def test_a_version_that_failed_to_load_gets_no_traffic(plane: DataPlane) -> None:
    """Its keys go to the other variant with reason `fallback`; nobody else moves."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(variants=HALVES, sticky={"by": "header", "name": "x-user-id"})
    await plane.set_states(v1="ready", v2="failed")
    await asyncio.sleep(0.01)

    answers = [await plane.infer([0, 0, 0, 0], x_user_id=f"u{i}") for i in range(40)]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-shepherd-version"] for answer in answers} == {"1"}
    assert {answer.headers["x-shepherd-reason"] for answer in answers} == {"split", "fallback"}


async def test_every_answer_has_its_record_with_tensors_in_and_out(plane: DataPlane) -> None:
    """The log holds what was asked, what was answered, by whom and why, before the answer leaves."""
    await plane.add_replica(1, EchoBackend(EchoOptions(fail_on=FAIL)))
    await plane.set_policy(variants=ONE)

    good, bad, unknown = (
        await plane.infer([1, 2, 3, 4]),
        await plane.infer([FAIL, 0, 0, 0]),
        await plane.infer([1], path="/v2/models/nope/infer"),
    )

    records = {record.request_id: record for record in plane.records()}
    assert len(records) == 3
    kept = records[good.headers["x-shepherd-request-id"]]
    assert (kept.outcome, kept.model, kept.version, kept.variant, kept.reason) == ("ok", MODEL, 1, "stable", "only")
    assert to_array(unpack_tensors(kept.inputs)[0]).tolist() == [[1, 2, 3, 4]]
    assert to_array(unpack_tensors(kept.outputs)[0]).tolist() == [[1, 2, 3, 4]]
    assert records[bad.headers["x-shepherd-request-id"]].outcome == "model_failed"
    assert records[unknown.headers["x-shepherd-request-id"]].outcome == "not_found"


async def test_features_that_were_looked_up_are_in_the_record_and_never_reach_the_model(plane: DataPlane) -> None:
    """A model that knows no parameters answers as ever."""
    await plane.add_replica(1, EchoBackend(EchoOptions()))
    await plane.set_policy(variants=ONE)
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    body = {"inputs": [tensor], "parameters": {"feature.delay_7d": 3.5, "feature.home": "ORD", "priority": 1}}

    answer = await plane.client.post(f"/v2/models/{MODEL}/infer", json=body)

    assert answer.status_code == 200, answer.text
    assert "parameters" not in answer.json()
    assert [record.features for record in plane.records()] == [{"delay_7d": 3.5, "home": "ORD"}]


async def test_shadows_are_called_compared_and_recorded_but_never_answer(plane: DataPlane) -> None:
    """The client gets the primary's answer; the log gets both."""
    for version in (1, 3):
        await plane.add_replica(version, EchoBackend())
    await plane.set_policy(variants=ONE, shadows=[{"version": 3, "sample": 10_000}])

    answers = [await plane.infer([float(i), 0, 0, 0]) for i in range(10)]
    while Counter(record.kind for record in plane.records())["shadow"] < 10:
        await asyncio.sleep(0.001)

    assert {answer.headers["x-shepherd-version"] for answer in answers} == {"1"}
    shadows = [record for record in plane.records() if record.kind == "shadow"]
    assert {record.primary_id for record in shadows} == {a.headers["x-shepherd-request-id"] for a in answers}
    assert {(record.version, record.outcome) for record in shadows} == {(3, "ok")}


async def test_a_shadow_that_hangs_or_is_missing_costs_primaries_nothing(plane: DataPlane) -> None:
    """Its own budget runs out and new shadow calls are dropped; every primary is answered."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(
        variants=ONE, shadows=[{"version": 3, "sample": 10_000, "timeout_ms": 100, "max_in_flight": 3}]
    )

    answers = await asyncio.gather(*(plane.infer([0, 0, 0, 0]) for _ in range(30)))
    while Counter(record.kind for record in plane.records())["shadow"] < 3:
        await asyncio.sleep(0.01)

    assert {answer.status_code for answer in answers} == {200}
    assert plane.gateway.in_flight == 0
    assert {record.outcome for record in plane.records() if record.kind == "shadow"} == {"deadline"}


async def test_a_shadow_that_was_scaled_to_zero_is_woken(plane: DataPlane) -> None:
    """Its calls wait for a replica as primaries do, and count as much when a version is looked for that starves."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(variants=ONE, shadows=[{"version": 3, "sample": 10_000, "timeout_ms": 60_000}])

    await plane.infer([0, 0, 0, 0])
    async with asyncio.timeout(20):
        while plane.gateway.starving() != {(MODEL, 3)}:
            await asyncio.sleep(0.001)
        await plane.add_replica(3, EchoBackend())
        while plane.gateway.starving():
            await asyncio.sleep(0.001)


async def test_weights_change_under_load_without_a_failed_request(plane: DataPlane) -> None:
    """Each request is decided by one policy, the old or the new."""
    for version in (1, 2):
        await plane.add_replica(version, EchoBackend())
    await plane.set_policy(variants=ONE)
    stop = asyncio.Event()
    statuses: Counter[int] = Counter()

    async def load() -> None:
        while not stop.is_set():
            statuses[(await plane.infer([0, 0, 0, 0])).status_code] += 1

    clients = [asyncio.create_task(load()) for _ in range(4)]
    for weight in range(0, 10_001, 1000):
        await plane.set_policy(
            variants=[
                {"name": "stable", "version": 1, "weight": 10_000 - weight},
                {"name": "canary", "version": 2, "weight": weight},
            ]
        )
    stop.set()
    await asyncio.gather(*clients)

    assert set(statuses) == {200}


async def test_the_metrics_page_balances_the_request_log(plane: DataPlane) -> None:
    """Each request has one record outcome there, and a router that has stopped says that all records are shipped."""
    await plane.add_replica(1, EchoBackend())
    await plane.set_policy(variants=ONE)
    for value in range(3):
        await plane.infer([value, 0, 0, 0])
    await plane.infer([0])

    await plane.gateway.close()

    page = scrape(plane.folder / "metrics")[0].decode()
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("shepherd_log_"))
    series = {name: float(value) for name, value in lines}
    assert series[f'shepherd_log_requests_total{{model="{MODEL}"}}'] == 4
    assert series[f'shepherd_log_records_total{{model="{MODEL}",outcome="logged"}}'] == 4
    assert series["shepherd_log_shipped_records_total"] == 4
    assert {value for name, value in series.items() if name.startswith("shepherd_log_spool_bytes")} == {0}
