"""One inference on its way through a router: what was asked, what was decided, what came back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from router.access.key import ApiKey
from router.policy.decision import Decision
from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer, InferRequest, Parameter

if TYPE_CHECKING:
    from router.gateway.dispatch.pool import VersionPool
    from router.gateway.dispatch.sequences import Sequence
    from serving.channel.client import ReplicaChannel


class Door(Protocol):
    """Where a call came in and its answer leaves: HTTP, gRPC, or nowhere for a shadow."""

    def answer(self, call: Call) -> None:
        """Encode the answer (or `call.error`) without sending it.

        An answer that cannot be encoded for this client becomes an error: set `call.error`, encode that.
        """

    def release(self, call: Call) -> None:
        """Send what `answer` encoded: its record is safe now."""


class Call:
    """A primary or shadow call. Mutable, slotted, made once per request: this is the hot path's only object of ours."""

    __slots__ = (
        "attempts",
        "batch_size",
        "bucket",
        "caller",
        "channel",
        "deadline",
        "decision",
        "door",
        "error",
        "extra",
        "headers",
        "id",
        "model",
        "number",
        "outputs",
        "packed",
        "pool",
        "primary_id",
        "protocol",
        "queued_us",
        "request",
        "revision",
        "run_us",
        "sequence",
        "settled",
        "started",
    )

    def __init__(
        self,
        door: Door,
        *,
        id: str,  # noqa: A002 - the field's word
        protocol: str,
        model: str,
        request: InferRequest | None,
        headers: dict[str, str],
        started: float,
        deadline: float,
        caller: ApiKey | None = None,
    ) -> None:
        self.door = door
        self.id = id
        """Unique over all routers and time: names the record, and the answer to the client."""
        self.protocol = protocol
        self.model = model
        self.request = request
        """None when the request could not be decoded."""
        self.headers = headers
        self.started = started
        self.deadline = deadline
        """Both monotonic seconds."""
        self.caller = caller
        """Whose key was presented; None when nobody was identified, who may do nothing where keys are asked for."""
        self.decision: Decision | None = None
        self.revision = 0
        self.packed: Buffer = b""
        self.extra = b""
        self.primary_id = ""
        """The primary's id on a shadow call, else empty."""
        self.sequence: Sequence | None = None
        """Set when the call belongs to one, and so to one replica."""
        self.attempts = 0
        self.pool: VersionPool | None = None
        self.channel: ReplicaChannel[Call] | None = None
        self.number = 0
        self.bucket = 0
        self.settled = False
        self.error: ServingError | None = None
        self.outputs: Buffer = b""
        """The answer's packed tensors."""
        self.queued_us = 0
        self.run_us = 0
        self.batch_size = 0

    def shorten_deadline(self, parameters: Mapping[str, Parameter]) -> None:
        """Heed the parameter `timeout` (V2: microseconds), which can only shorten what is allowed anyway."""
        timeout_us = parameters.get("timeout")
        if type(timeout_us) is int and timeout_us > 0:
            self.deadline = min(self.deadline, self.started + timeout_us / 1e6)

    def __repr__(self) -> str:
        state = "settled" if self.settled else "in flight" if self.channel else "waiting"
        return f"<Call {self.id} {self.model} {state}>"
