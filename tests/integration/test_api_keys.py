"""Where `api_keys` is `required`, nothing but health answers without a key, and no key reaches beyond its scope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2

from router.adapters.files.key_snapshot import read_key_snapshot
from router.adapters.redis.key_store import RedisKeyStore
from router.gateway.grpc.door import HEALTH, SERVICE
from serving.backends.echo import EchoBackend, EchoOptions
from serving.protocol.pb import open_inference_pb2 as pb
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.grpc_calls import infer_message, row_of, unary
from tests.raw_http import raw_peer
from tests.raw_http import request as raw_request

pytestmark = pytest.mark.asyncio

ONE = [{"name": "stable", "version": 1, "weight": 10_000}]
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
OPEN_PATHS = ["/v2/health/live", "/v2/health/ready", "/ping", "/health"]
OPEN_METHODS = ["ServerLive", "ServerReady"]


@pytest_asyncio.fixture(params=["aio", "envoy"])
async def plane(valkey_socket: Path, request: pytest.FixtureRequest) -> AsyncIterator[DataPlane]:
    """A router that asks for keys, with one echo version, behind either gRPC door."""
    async with running_data_plane(f"unix://{valkey_socket}", grpc_door=request.param, api_keys="required") as running:
        await running.add_replica(1, EchoBackend(EchoOptions()))
        await running.set_policy(variants=ONE)
        yield running


@pytest_asyncio.fixture
async def http_plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """The same for what the gRPC door has no part in."""
    async with running_data_plane(f"unix://{valkey_socket}", api_keys="required") as running:
        await running.add_replica(1, EchoBackend(EchoOptions()))
        await running.set_policy(variants=ONE)
        yield running


def _guarded_routes(plane: DataPlane) -> list[tuple[str, str]]:
    """List every method and path of the table, with names filled in, and the inferences that bypass it."""
    by_length = plane.gateway._http._config.app._routes._by_length  # type: ignore[union-attr]
    paths = [
        (method, "/" + "/".join(segments).format(model=MODEL, version="1", region="r"))
        for entries in by_length.values()
        for segments, methods in entries
        for method in methods
    ]
    inferences = [
        f"/v2/models/{MODEL}/infer",
        f"/v1/models/{MODEL}:predict",
        f"/v1/models/{MODEL}/labels/stable:predict",
    ]
    return [each for each in paths if each[1] not in OPEN_PATHS] + [
        ("POST", path) for path in [*inferences, "/invocations"]
    ]


def _methods(plane: DataPlane) -> list[str]:
    """List every unary method but inference."""
    return [path for path, handler in plane.gateway._grpc._methods().items() if not handler.request_streaming]


def _stream(channel: grpc.aio.Channel, method: str) -> Any:
    return channel.stream_stream(method)


async def _status(
    channel: grpc.aio.Channel, method: str, message: bytes, *metadata: tuple[str, str]
) -> grpc.StatusCode:
    try:
        await unary(channel, method)(message, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_no_path_but_health_answers_without_a_key(http_plane: DataPlane) -> None:
    """Every route of the table: 401 with the challenge that RFC 9110 asks for, in the protocol's form, saying how."""
    routes = _guarded_routes(http_plane)
    assert len(routes) > 40
    for method, path in routes:
        for headers in ({}, {"x-api-key": "shk_guess"}, {"authorization": "Bearer shk_guess"}):
            answer = await http_plane.client.request(method, path, headers=headers, json=BODY)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert method == "HEAD" or "x-api-key" in answer.json()["error"]
    for path in OPEN_PATHS:
        assert (await http_plane.client.get(path)).status_code == 200


async def test_no_method_but_health_answers_without_a_key(plane: DataPlane) -> None:
    """Every unary method of the service is UNAUTHENTICATED; health is not."""
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        methods = _methods(plane)
        assert len(methods) > 18
        for method in methods:
            is_open = method.startswith(f"/{HEALTH}") or method.rpartition("/")[2] in OPEN_METHODS
            for metadata in ((), (("authorization", "Bearer shk_guess"),)):
                status = await _status(channel, method, b"", *metadata)
                assert status == (grpc.StatusCode.OK if is_open else grpc.StatusCode.UNAUTHENTICATED), method


async def test_no_stream_opens_without_a_key(plane: DataPlane) -> None:
    """Neither inference nor reflection; watching health does."""
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        for method in (f"/{SERVICE}/ModelStreamInfer", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await _stream(channel, method)(iter([b""])).read()
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        watch = _stream(channel, f"/{HEALTH}/Watch")(iter([health_pb2.HealthCheckRequest().SerializeToString()]))
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 1


async def test_a_key_opens_what_its_scope_covers(plane: DataPlane) -> None:
    """By either header, over both protocols, for a name that its pattern fits."""
    secret = await plane.grant("team", [f"{MODEL}*"])

    for headers in ({"x-api-key": secret}, {"authorization": f"Bearer {secret}"}):
        assert (await plane.client.post(f"/v2/models/{MODEL}/infer", json=BODY, headers=headers)).status_code == 200
        assert (await plane.client.get(f"/v2/models/{MODEL}", headers=headers)).status_code == 200
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        assert row_of(await unary(channel)(infer_message(1, 2, 3, 4), metadata=(("x-api-key", secret),)))


async def test_beyond_the_scope_it_is_forbidden_whether_the_model_exists_or_not(plane: DataPlane) -> None:
    """The answer to a model that is not the caller's tells nothing about it."""
    secret = await plane.grant("other", ["other"])
    headers = {"x-api-key": secret}

    for model in (MODEL, "no-such-model"):
        for method, path in (
            ("POST", f"/v2/models/{model}/infer"),
            ("POST", f"/v1/models/{model}:predict"),
            ("POST", f"/v1/models/{model}/labels/stable:predict"),
            ("GET", f"/v2/models/{model}"),
            ("GET", f"/v2/models/{model}/ready"),
            ("POST", f"/v2/models/{model}/feedback"),
        ):
            body = {"instances": [[1, 2, 3, 4]]} if "/v1/" in path else BODY
            answer = await plane.client.request(method, path, headers=headers, json=body)
            assert answer.status_code == 403, path
            assert '"other"' in answer.json()["error"]
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        for method, message in (
            ("ModelInfer", infer_message(1, 2, 3, 4)),
            ("ModelMetadata", pb.ModelMetadataRequest(name=MODEL).SerializeToString()),
        ):
            status = await _status(channel, f"/{SERVICE}/{method}", message, *headers.items())
            assert status == grpc.StatusCode.PERMISSION_DENIED


async def test_an_action_that_was_not_given_is_forbidden(http_plane: DataPlane) -> None:
    """Loading, unloading and settings are never among what a key may do unless they were named."""
    ordinary = await http_plane.grant("ordinary", ["*"])
    reader = await http_plane.grant("reader", ["*"], ["metadata"])
    keeper = await http_plane.grant("keeper", ["*"], ["repository", "settings"])

    async def status(secret: str, method: str, path: str, **more: Any) -> int:
        answer = await http_plane.client.request(method, path, headers={"x-api-key": secret}, json=more)
        return answer.status_code

    load = f"/v2/repository/models/{MODEL}/load"
    assert await status(ordinary, "POST", load) == 403
    assert await status(keeper, "POST", load) == 401, "control asks for a token of the admin API besides"
    assert await status(ordinary, "POST", "/v2/logging", log_error=True) == 403
    assert await status(keeper, "POST", "/v2/logging", log_error=True) == 200
    assert await status(reader, "POST", f"/v2/models/{MODEL}/infer", **BODY) == 403
    assert await status(keeper, "GET", f"/v2/models/{MODEL}") == 403


async def test_settings_sent_over_grpc_take_more_than_reading_them(plane: DataPlane) -> None:
    """One method does both, so the message decides."""
    secret = await plane.grant("reader", ["*"], ["metadata"])
    change = pb.LogSettingsRequest()
    change.settings["log_error"].bool_param = True

    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        method = f"/{SERVICE}/LogSettings"
        assert await _status(channel, method, b"", ("x-api-key", secret)) == grpc.StatusCode.OK
        changing = await _status(channel, method, change.SerializeToString(), ("x-api-key", secret))
        assert changing == grpc.StatusCode.PERMISSION_DENIED


async def test_lists_show_only_the_models_in_scope(http_plane: DataPlane) -> None:
    """Repository index, statistics of everything, V1's list; and `/invocations` does not name the others."""
    stranger = await http_plane.grant("stranger", ["other"])
    team = await http_plane.grant("team", [MODEL])
    await http_plane.infer([1, 2, 3, 4], x_api_key=team)

    async def ask(secret: str, method: str, path: str) -> Any:
        return (await http_plane.client.request(method, path, headers={"x-api-key": secret})).json()

    for method, path, member in (
        ("POST", "/v2/repository/index", None),
        ("GET", "/v2/models/stats", "model_stats"),
        ("GET", "/v1/models", "models"),
    ):
        for secret, is_seen in ((team, True), (stranger, False)):
            document = await ask(secret, method, path)
            assert bool(document[member] if member else document) == is_seen, path
    refused = await http_plane.client.post("/invocations", json={"inputs": [[1]]}, headers={"x-api-key": stranger})
    assert f'"{MODEL}"' not in refused.text
    assert refused.json()["error"].endswith("models are none")


async def test_an_expired_key_and_a_revoked_one_are_refused(http_plane: DataPlane) -> None:
    """Each with its reason."""
    expired = await http_plane.grant("old", ["*"], expires_at=1.0)
    revoked = await http_plane.grant("gone", ["*"])
    assert (await http_plane.infer([1, 2, 3, 4], x_api_key=revoked)).status_code == 200
    await http_plane.revoke("gone")

    for secret, reason in ((expired, "has expired"), (revoked, "was revoked")):
        answer = await http_plane.infer([1, 2, 3, 4], x_api_key=secret)
        assert answer.status_code == 401
        assert reason in answer.json()["error"]


async def test_a_stream_fails_the_messages_that_follow_a_revocation(plane: DataPlane) -> None:
    """A long-lived stream is no way to keep a key; messages beyond the scope fail alone."""
    secret = await plane.grant("team", [MODEL])
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        stream = _stream(channel, f"/{SERVICE}/ModelStreamInfer")(metadata=(("x-api-key", secret),))

        async def ask(message: bytes) -> str:
            await stream.write(message)
            return str(pb.ModelStreamInferResponse.FromString(await stream.read()).error_message)

        assert await ask(infer_message(1, 2, 3, 4)) == ""
        assert "does not cover infer" in await ask(infer_message(1, 2, 3, 4, model="other"))
        assert await ask(infer_message(1, 2, 3, 4)) == ""
        await plane.revoke("team")
        assert "was revoked" in await ask(infer_message(1, 2, 3, 4))


async def test_no_secret_is_recorded_or_counted_and_every_refusal_is(http_plane: DataPlane) -> None:
    """Not even where a policy is sticky by the header that brings it; refusals are counted by their reason."""
    secret = await http_plane.grant("team", [MODEL])
    await http_plane.set_policy(variants=ONE, sticky={"by": "header", "name": "x-api-key"})
    await http_plane.infer([1, 2, 3, 4], x_api_key=secret)
    await http_plane.infer([1, 2, 3, 4], x_api_key="shk_guess")
    await http_plane.infer([1, 2, 3, 4])

    records = http_plane.records()
    assert [record.outcome for record in records] == ["ok", "unauthenticated", "unauthenticated"]
    spooled = b"".join(path.read_bytes() for path in http_plane.folder.rglob("*") if path.is_file())
    assert secret.encode() not in spooled
    assert b"shk_guess" not in spooled
    counters = http_plane.gateway._registry.snapshot().counters["shepherd_access_refusals_total"]
    assert counters == {("http", "unknown"): 1, ("http", "missing"): 1}


async def test_a_refused_body_is_not_kept_and_its_connection_goes_on(http_plane: DataPlane) -> None:
    """401 after the body, in turn; a client that asks first, by `Expect`, is told not to send it."""
    secret = await http_plane.grant("team", [MODEL])
    path = f"/v2/models/{MODEL}/infer"
    async with raw_peer(http_plane.settings.http_port) as peer:
        await peer.send(raw_request(path, b"never parsed"))
        assert (await peer.answer()).status == 401
        await peer.send(raw_request("/v2", b"", f"x-api-key: {secret}", method="GET"))
        assert (await peer.answer()).status == 200
        await peer.send(raw_request(path, b"", "content-length: 5", "expect: 100-continue"))
        assert (await peer.answer()).status == 401


async def test_without_its_store_a_router_goes_on_with_the_keys_on_disk(valkey_socket: Path, tmp_path: Path) -> None:
    """Known keys open, unknown ones do not; with nothing on disk either, nobody is let in, and told to come back."""
    async with running_data_plane(f"unix://{valkey_socket}", api_keys="required") as first:
        secret = await first.grant("team", [MODEL])
        kept = first.folder / "keys.json"
        while (found := read_key_snapshot(kept).snapshot) is None or found.epoch < first.gateway.key_epoch:
            await asyncio.sleep(0.005)
        content = kept.read_bytes()
        assert kept.stat().st_mode & 0o077 == 0
        assert secret.encode() not in content

    for on_disk, expected in ((content, {secret: 200, "shk_guess": 401}), (b"", {secret: 503})):
        away = RedisKeyStore(f"unix://{tmp_path}/nobody.sock")
        async with running_data_plane(
            f"unix://{valkey_socket}", api_keys="required", key_store=away, keys_on_disk=on_disk
        ) as plane:
            await plane.add_replica(1, EchoBackend(EchoOptions()))
            await plane.set_policy(variants=ONE)
            for presented, status in expected.items():
                answer = await plane.infer([1, 2, 3, 4], x_api_key=presented)
                assert answer.status_code == status


async def test_keys_that_are_ignored_change_nothing(valkey_socket: Path) -> None:
    """The default: requests with any key or none are answered, and `authorization` stays a header like others."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        await plane.add_replica(1, EchoBackend(EchoOptions()))
        await plane.set_policy(variants=ONE)

        assert (await plane.infer([1, 2, 3, 4])).status_code == 200
        assert (await plane.infer([1, 2, 3, 4], x_api_key="shk_guess")).status_code == 200
