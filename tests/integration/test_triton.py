"""A model on a real Triton is served as one of ours: right answers, our errors, and no trust in its readiness."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.control.profiling import Reference, attach_profile
from serving.backends.backend import Array
from serving.backends.outgoing import Reach
from serving.backends.triton import TritonBackend, TritonOptions
from serving.backends.triton_push import PushedModel
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import TensorSpec
from serving.registry.gate import check_version
from serving.registry.golden import arrays
from serving.registry.golden_recording import record
from serving.registry.model_files import ModelFiles
from serving.registry.options import parse_options
from serving.registry.registry import Registry
from tests import models
from tests.ports import free_ports
from tests.triton import Triton, running_triton

pytestmark = [pytest.mark.triton, pytest.mark.slow]

X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with running_triton(tmp_path_factory.mktemp("triton")) as running:
        running.put("add", models.add_one())
        yield running


def options(*urls: str, **more: Any) -> TritonOptions:
    return TritonOptions(urls=",".join(urls), model="add", **{"manage": True, "probe_s": 0.2, "timeout_s": 5.0, **more})


def agrees(answer: Mapping[str, Array]) -> str | None:
    return None if np.array_equal(answer["y"], X + 1) else "another answer"


@asynccontextmanager
async def serving(chosen: TritonOptions) -> AsyncIterator[TritonBackend]:
    backend = TritonBackend(chosen)
    await asyncio.to_thread(backend.load)
    await backend.start({"x": X}, agrees)
    try:
        yield backend
    finally:
        await backend.stop()
        await asyncio.to_thread(backend.close)


async def refusal(backend: TritonBackend, x: Array, timeout_s: float = 2.0) -> ServingError:
    with pytest.raises(ServingError) as caught:
        await backend.infer_async({"x": x}, (), timeout_s)
    return caught.value


async def answered(backend: TritonBackend) -> None:
    """Wait until it answers."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ServingError):
                await backend.infer_async({"x": X}, (), 2.0)
                return
            await asyncio.sleep(0.05)


each_protocol = pytest.mark.parametrize("protocol", ["grpc", "http"])


def url_of(triton: Triton, protocol: str) -> str:
    return triton.grpc_url if protocol == "grpc" else triton.http_url


@each_protocol
@pytest.mark.asyncio
async def test_answers_and_signature_are_the_models(triton: Triton, protocol: str) -> None:
    """Many calls are open at once, each with its own answer."""
    async with serving(options(url_of(triton, protocol))) as backend:
        rows = [np.full((1, 4), value, np.float32) for value in range(20, 50)]
        answers = await asyncio.gather(*(backend.infer_async({"x": row}, ("y",), 5.0) for row in rows))

        assert backend.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
        assert [answer["y"].tolist() for answer in answers] == [(row + 1).tolist() for row in rows]


@each_protocol
@pytest.mark.asyncio
async def test_its_refusals_become_ours(triton: Triton, protocol: str) -> None:
    """A wrong request is the client's fault, a raising model is the model's, a late answer is nobody's."""
    async with serving(options(url_of(triton, protocol))) as backend:
        assert (await refusal(backend, X[:, :2])).kind is ErrorKind.INVALID
        raised = await refusal(backend, np.full_like(X, 13))
        assert raised.kind is ErrorKind.MODEL_FAILED
        assert "thirteen" in raised.message
        started = time.monotonic()
        assert (await refusal(backend, np.full_like(X, 99), timeout_s=0.2)).kind is ErrorKind.DEADLINE
        assert time.monotonic() - started < 1.9, "the deadline was passed on, not the model's two seconds"
        await answered(backend)


@each_protocol
@pytest.mark.asyncio
async def test_a_dead_stub_is_found_out_and_mended(triton: Triton, protocol: str) -> None:
    """Triton goes on saying READY; the golden probe does not believe it, and a reload brings the model back."""
    async with serving(options(url_of(triton, protocol))) as backend:
        await refusal(backend, np.full_like(X, 666), timeout_s=0.3)

        await answered(backend)

        assert (await backend.infer_async({"x": X}, (), 2.0))["y"].tolist() == (X + 1).tolist()


@pytest.mark.asyncio
async def test_a_dead_stub_that_is_not_ours_to_mend_opens_the_breaker(triton: Triton) -> None:
    """Requests are then refused at once, not after the second that a dead stub takes."""
    async with serving(options(triton.grpc_url)), serving(options(triton.grpc_url, manage=False)) as backend:
        await refusal(backend, np.full_like(X, 666), timeout_s=0.3)
        refused = await refusal(backend, X)
        while "no Triton can answer now" not in refused.message:
            refused = await refusal(backend, X)
        assert refused.kind is ErrorKind.UNAVAILABLE


@pytest.mark.asyncio
async def test_another_server_answers_when_one_is_gone(
    triton: Triton, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The lost request is sent again; later ones do not try the dead server."""
    with running_triton(tmp_path_factory.mktemp("second")) as second:
        second.put("add", models.add_one())
        async with serving(options(second.grpc_url, triton.grpc_url)) as backend:
            second.kill()
            answers = await asyncio.gather(*(backend.infer_async({"x": X}, (), 5.0) for _ in range(50)))

            assert all(np.array_equal(answer["y"], X + 1) for answer in answers)


@pytest.mark.asyncio
async def test_http_answers_where_grpc_cannot(triton: Triton) -> None:
    """Both doors of one server may be named: a firewall that closes one of them is survived."""
    (closed,) = free_ports(1)
    async with serving(options(f"grpc://127.0.0.1:{closed}", triton.http_url)) as backend:
        for _ in range(5):
            assert np.array_equal((await backend.infer_async({"x": X}, (), 5.0))["y"], X + 1)

        troubles = backend.troubles()

    assert troubles[f"127.0.0.1:{closed}"] is not None
    assert troubles[f"127.0.0.1:{triton.http_port}"] is None


@each_protocol
@pytest.mark.asyncio
async def test_whoever_only_tries_a_model_leaves_it_to_those_who_serve_it(triton: Triton, protocol: str) -> None:
    """A recording loads it, asks it and lets go; the version that answers clients from it goes on."""
    tags = {
        "backend": "triton",
        "triton.urls": url_of(triton, protocol),
        "triton.model": "add",
        "triton.manage": "true",
    }
    asked = parse_options({f"shepherd.{name}": value for name, value in tags.items()})
    async with serving(options(url_of(triton, protocol), probe_s=60.0)) as backend:
        recorded = await asyncio.to_thread(record, ModelFiles(None, {}, None), asked, None, Reach())

        assert arrays(recorded.golden.outputs)["y"].tolist() == [[2.0] * 4]
        assert np.array_equal((await backend.infer_async({"x": X}, (), 5.0))["y"], X + 1)


@pytest.mark.asyncio
async def test_a_paused_server_does_not_keep_another_from_being_asked(triton: Triton) -> None:
    """It takes connections and says nothing, at load and in checks."""
    with socket.create_server(("127.0.0.1", 0)) as paused:
        url = f"grpc://127.0.0.1:{paused.getsockname()[1]}"
        async with serving(options(url, triton.grpc_url, timeout_s=1.0)) as backend:
            answer = await asyncio.to_thread(backend.infer, {"x": X}, ())

    assert np.array_equal(answer["y"], X + 1)


@pytest.mark.asyncio
async def test_a_cancelled_call_is_cancelled_there(triton: Triton) -> None:
    """The caller is free at once, and the server is not asked to go on."""
    async with serving(options(triton.grpc_url)) as backend:
        call = asyncio.create_task(backend.infer_async({"x": np.full_like(X, 99)}, (), 5.0))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert time.monotonic() - started < 0.5


@pytest.mark.asyncio
async def test_a_pushed_model_is_loaded_served_and_gone_with_its_last_user(triton: Triton, tmp_path: Path) -> None:
    """Files, load, answer, unload: through the shared folder and the repository API alone."""
    (tmp_path / "model.onnx").write_bytes(models.two_inputs())

    def backend() -> TritonBackend:
        pushed = PushedModel(tmp_path / "model.onnx", triton.repository, "pushed", 16)
        chosen = TritonOptions(urls=triton.grpc_url, model="pushed", push=True, timeout_s=5.0)
        return TritonBackend(chosen, (), pushed)

    first, second = backend(), backend()
    for each in (first, second):
        await asyncio.to_thread(each.load)
    row = {"a": X[:, :2], "b": X[:, 2:]}
    assert first.signature.inputs == (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "FP32", (-1, 2)))

    await asyncio.to_thread(first.close)
    assert second.infer(row, ("product",))["product"].tolist() == [[3, 8]]

    await asyncio.to_thread(second.close)
    with pytest.raises(ServingError):
        await asyncio.to_thread(second.infer, row, ())
    assert not [path for path in triton.repository.iterdir() if path.name.startswith("pushed")]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_what_a_replica_may_reach_its_check_and_its_profile_may_too(triton: Triton, tmp_path: Path) -> None:
    """A pushed model on a host that the operator allows: nothing is left of them when they are done."""
    reach = Reach(("0.0.0.0",), triton.repository)
    url = f"grpc://0.0.0.0:{triton.grpc_port}"
    tags = {"backend": "triton", "triton.push": "true", "triton.urls": url, "triton.model": "tried"}
    registry = Registry.open(None, state_dir=tmp_path, reach=reach)
    version = registry.register("m", models.add_one(), tags={f"shepherd.{name}": text for name, text in tags.items()})

    artifact = registry.fetch(registry.resolve("m", version))
    report = check_version("m", artifact.dir, artifact.info.tags, reach)
    profile = attach_profile(registry, "m", version, Reference({"x": np.repeat(X, 100, axis=0)}))
    registry.close()

    assert report.passed, report.findings
    assert {column.name for column in profile.columns} >= {"x[0]", "y[3]"}
    assert not [path for path in triton.repository.iterdir() if path.name.startswith("tried")]


def test_a_model_that_triton_does_not_have_is_refused_by_name(triton: Triton) -> None:
    """At load, before anything is served."""
    backend = TritonBackend(TritonOptions(urls=triton.grpc_url, model="nowhere", timeout_s=2))

    with pytest.raises(ServingError, match="model 'nowhere' cannot be served by the Triton at"):
        backend.load()
