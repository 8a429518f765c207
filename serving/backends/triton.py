"""Serves a model that lives on Triton servers: this process holds no model, only the calls that wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from serving.backends.backend import Agreement, Array
from serving.backends.outgoing import check_host, parse_address
from serving.backends.triton_client import GRPC, HTTP, TritonClient
from serving.backends.triton_endpoints import Endpoints
from serving.backends.triton_errors import EndpointLost
from serving.backends.triton_push import PushedModel
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.messages import Signature

#: Failures that may be the endpoint's and not the request's.
_SUSPICIOUS = frozenset({ErrorKind.MODEL_FAILED, ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE})


class TritonOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model lives; a version gets these by tags `shepherd.triton.<name>`."""

    urls: str
    """Servers that have the model, `grpc://HOST:PORT` or `http://HOST:PORT`, separated by commas."""
    model: str
    """Its name there."""
    model_version: str = ""
    """Its version there; empty for the one that Triton chooses."""
    manage: bool = False
    """Load it through the repository API before use, reload it when it answers wrongly, unload it when it is no longer
    served. Needs `--model-control-mode=explicit`, and nobody else who uses the model."""
    push: bool = False
    """Put the version's ONNX file into the servers' model repository first, under a name of its own, and take it away
    at the end; implies `manage`. The operator names the folder by the setting triton_push_folder."""
    max_concurrency: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Requests that one replica has open at once."""
    timeout_s: Annotated[float, Meta(gt=0)] = 30.0
    """Longest wait for an answer, for control calls, probes and requests that name no deadline."""
    probe_s: Annotated[float, Meta(gt=0)] = 2.0
    """Seconds between golden probes of each server."""


class TritonBackend:
    """One model on one or more servers; see `RemoteBackend` for the contract."""

    def __init__(
        self, options: TritonOptions, allowed_hosts: Collection[str] = (), pushed: PushedModel | None = None
    ) -> None:
        """Check the addresses; nothing is contacted.

        Args:
            options: of the version.
            allowed_hosts: machines, beside this one, that may be spoken to.
            pushed: the version's own model, to be put into the servers' repository.

        Raises:
            ServingError: INVALID, an address is wrong or not allowed.
        """
        self._options = options
        addresses = [check_host(parse_address(url, (GRPC, HTTP)), allowed_hosts) for url in options.urls.split(",")]
        if pushed is not None and options.model_version:
            raise invalid(
                "tag 'shepherd.triton.model_version' names a version that is there; a pushed model has but one"
            )
        self._pushed = pushed
        self._manages = options.manage or pushed is not None
        self._model = pushed.name if pushed is not None else options.model
        self._clients = [
            TritonClient(
                address,
                self._model,
                options.model_version,
                connections=options.max_concurrency,
                timeout_s=options.timeout_s,
            )
            for address in addresses
        ]
        self._signature = Signature((), ())
        self._endpoints: Endpoints | None = None

    @property
    def signature(self) -> Signature:
        """What the servers say of the model; empty before `load`."""
        return self._signature

    @property
    def max_concurrency(self) -> int:
        """Requests that may be open at once."""
        return self._options.max_concurrency

    def load(self) -> None:
        """Find the model on every server that is there, loading it if told to; all must have the same signature.

        Raises:
            ServingError: INVALID, a server does not have the model or the servers differ; UNAVAILABLE, none is there.
        """
        try:
            if self._pushed is not None:
                self._pushed.place(_signature_of)
            self._signature = self._find()
        except Exception:
            if self._pushed is not None:
                self._pushed.leave(self._unload)
            raise

    def _find(self) -> Signature:
        found: dict[str, Signature] = {}
        lost: EndpointLost | None = None
        for client in self._clients:
            try:
                if self._manages:
                    client.load()
                found[client.address.netloc] = client.signature()
            except EndpointLost as error:
                lost = error
            except ServingError as error:
                place = client.address.netloc
                raise invalid(f"model '{self._model}' cannot be served by the Triton at {place}: {error}") from error
        if not found:
            assert lost is not None, "there is at least one address"
            raise lost
        first, *others = found.values()
        if any(other != first for other in others):
            raise invalid(f"the Tritons at {', '.join(found)} have models of different signatures")
        return first

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Ask the servers one after the other until one answers; for checks, not for traffic."""
        for client in self._clients[:-1]:
            try:
                return client.infer(inputs, outputs)
            except EndpointLost:
                continue
        return self._clients[-1].infer(inputs, outputs)

    async def start(self, example: Mapping[str, Array], agrees: Agreement) -> None:
        """Begin to probe each server with the example, on the loop that requests will come from."""

        async def probe(client: TritonClient) -> str | None:
            return agrees(await client.infer_async(example, (), self._options.timeout_s))

        async def repair(client: TritonClient) -> None:
            # A load alone does nothing for a dead stub.
            await asyncio.to_thread(client.unload)
            await asyncio.to_thread(client.load)

        mend = repair if self._manages else None
        self._endpoints = Endpoints(self._clients, probe, mend, period_s=self._options.probe_s)
        self._endpoints.start()

    async def infer_async(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, Array]:
        """Ask the least busy server; once more, elsewhere, when its connection is lost. See `RemoteBackend`."""
        assert self._endpoints is not None, "start() first"
        limit_s = min(timeout_s, self._options.timeout_s)
        lost = None
        while True:
            endpoint = self._endpoints.choose(other_than=lost)
            endpoint.in_flight += 1
            try:
                return await endpoint.client.infer_async(inputs, outputs, limit_s)
            except EndpointLost as error:
                endpoint.open(error.message)
                endpoint.suspect()
                if lost is not None:
                    raise
                lost = endpoint
            except ServingError as error:
                if error.kind in _SUSPICIOUS:
                    endpoint.suspect()
                raise
            finally:
                endpoint.in_flight -= 1

    def describe(self) -> dict[str, Any]:
        """Say where the model lives."""
        places = ", ".join(f"{client.address.scheme}://{client.address.netloc}" for client in self._clients)
        return {"backend": "triton", "provider": places, "triton_model": self._model}

    def troubles(self) -> Mapping[str, str | None]:
        """Say which servers get no requests, and why; see `RemoteBackend`."""
        return self._endpoints.troubles() if self._endpoints is not None else {}

    async def stop(self) -> None:
        """Stop probing and close the connections of the serving loop."""
        if self._endpoints is not None:
            await self._endpoints.close()

    def close(self) -> None:
        """Unload the model if it is ours to manage and was served from here; one that was pushed, when nobody uses it.

        Whoever only tried it (a recording, a check, a profile, a replica that refused it) leaves it where it is:
        another version, or another replica, may be serving that very model.
        """
        if self._pushed is not None:
            self._pushed.leave(self._unload)
        elif self._manages and self._endpoints is not None:
            self._unload()

    def _unload(self) -> None:
        for client in self._clients:
            with contextlib.suppress(ServingError):
                client.unload()


def _signature_of(onnx: Path) -> Signature:
    from serving.backends.onnx import OnnxBackend, OnnxOptions

    backend = OnnxBackend(onnx, OnnxOptions(provider="cpu"))
    backend.load()
    backend.close()
    return backend.signature
