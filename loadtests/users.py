"""Users of the three ways in: V2 JSON, V2 binary tensors, and gRPC by the stock Triton client.

Each request carries its customer as `x-user-id`. Whatever way a customer comes in, the version that answers must stay
the same while the policy does: an answer from another version than before is a failure.
"""

from __future__ import annotations

import itertools
import random
from time import perf_counter
from typing import Any, ClassVar

import grpc.experimental.gevent
import msgspec
import numpy as np
import tritonclient.grpc
from locust import FastHttpUser, User, between, task
from tritonclient.utils import InferenceServerException

from loadtests.model import v2_json
from loadtests.rows import Subject

STICKY_HEADER = "x-user-id"
JSON, BINARY, GRPC = "V2 JSON", "V2 binary", "gRPC"

#: After so long an answer is a failure.
TIMEOUT_S = 10.0
#: Seconds between two requests of a user, drawn at random so that users do not march in step.
_PAUSE_S = (0.05, 0.15)

grpc.experimental.gevent.init_gevent()


class Fault(Exception):
    """What was wrong with an answer, as Locust's error report shows it."""


class Stickiness:
    """Which version answered whom so far."""

    def __init__(self) -> None:
        self._version_of: dict[str, str] = {}

    def check(self, key: str, version: str) -> str | None:
        """Remember who answered; return what is wrong when it was somebody else before."""
        before = self._version_of.setdefault(key, version)
        return None if before == version else f"{key} was answered by version {version}, before by {before}"


class _Asking:
    """What the users share; set once, when the test starts."""

    subject: ClassVar[Subject]
    stickiness: ClassVar[Stickiness | None] = Stickiness()
    """None where the policy changes during the test, so that customers move with good reason."""
    grpc_host: ClassVar[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Users begin at different rows, so that they do not march in step.
        first = random.randrange(len(self.subject.keys))
        self._turns = itertools.chain(range(first, len(self.subject.keys)), itertools.cycle(range(first)))

    def fault(self, key: str, version: str) -> str | None:
        return self.stickiness.check(key, version) if self.stickiness else None


class _HttpUser(_Asking, FastHttpUser):
    abstract = True
    kind: ClassVar[str]
    connection_timeout = network_timeout = TIMEOUT_S
    wait_time = between(*_PAUSE_S)

    def ask(self, key: str, body: bytes, headers: dict[str, str]) -> None:
        path = f"/v2/models/{self.subject.model}/infer"
        sent = {**headers, STICKY_HEADER: key}
        with self.client.post(path, data=body, headers=sent, name=self.kind, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {(response.text or '')[:200]}")
            elif fault := self.fault(key, response.headers.get("x-shepherd-version", "")):
                response.failure(fault)


class JsonUser(_HttpUser):
    """Sends tensors as JSON numbers: what a first try with curl does."""

    kind = JSON
    weight = 2

    @task
    def infer(self) -> None:
        """Ask about the next row."""
        row = next(self._turns)
        body = v2_json(self.subject.rows[row : row + 1], self.subject.input_name)
        self.ask(self.subject.keys[row], body, {"content-type": "application/json"})


class BinaryUser(_HttpUser):
    """Sends and takes raw tensors after a JSON header ("Binary Tensor Data Extension")."""

    kind = BINARY

    @task
    def infer(self) -> None:
        """Ask about the next row."""
        row = next(self._turns)
        data = self.subject.rows[row : row + 1]
        tensor = {
            "name": self.subject.input_name,
            "datatype": "FP32",
            "shape": data.shape,
            "parameters": {"binary_data_size": data.nbytes},
        }
        head = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
        self.ask(self.subject.keys[row], head + data.tobytes(), headers)


class GrpcUser(_Asking, User):
    """Calls ModelInfer by NVIDIA's client, unchanged."""

    wait_time = between(*_PAUSE_S)

    def on_start(self) -> None:
        """Open a channel of its own: users do not share one in life."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._client = tritonclient.grpc.InferenceServerClient(self.grpc_host, channel_args=options)

    def on_stop(self) -> None:
        """Close the channel."""
        self._client.close()

    @task
    def infer(self) -> None:
        """Ask about the next row."""
        row = next(self._turns)
        key, data = self.subject.keys[row], self.subject.rows[row : row + 1]
        tensor = tritonclient.grpc.InferInput(self.subject.input_name, data.shape, "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(data))
        failure: Exception | None = None
        size = 0
        started = perf_counter()
        try:
            answer = self._client.infer(
                self.subject.model, [tensor], headers={STICKY_HEADER: key}, client_timeout=TIMEOUT_S
            ).get_response()
            size = answer.ByteSize()
            if fault := self.fault(key, answer.model_version):
                failure = Fault(fault)
        except InferenceServerException as error:
            failure = Fault(str(error))  # its repr, which Locust prints, is empty
        self.environment.events.request.fire(
            request_type="gRPC",
            name=GRPC,
            response_time=(perf_counter() - started) * 1e3,
            response_length=size,
            exception=failure,
            context={},
        )
