"""One request inside a replica, from frame to result. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer
from serving.protocol.packing import Entry


class Plan(NamedTuple):
    """What a request's header says, checked against the signature; requests with equal headers share it."""

    entries: tuple[Entry, ...]
    """Inputs in the order in which their data lies."""
    outputs: tuple[str, ...]
    """Outputs to compute, in order; never empty."""
    rows: int
    """Length of the first axis; 1 for a model that is never batched."""
    lane: Hashable
    """Requests of one lane may be stacked: same names, datatypes and trailing dimensions, same outputs."""


class Result(NamedTuple):
    """A job's answer: packed tensors in pieces, and how it came about."""

    packed: list[Buffer]
    queued_s: float
    run_s: float
    batch_size: int
    """Requests that shared the run."""


class Job:
    """A queued request. `done` is called exactly once unless the job is cancelled first."""

    __slots__ = ("arrived", "cancelled", "data", "deadline", "done", "plan", "shadow")

    def __init__(
        self,
        plan: Plan,
        data: Buffer,
        *,
        arrived: float,
        deadline: float,
        shadow: bool,
        done: Callable[[Result | ServingError], None],
    ) -> None:
        self.plan = plan
        self.data = data
        """The inputs' raw data, one after the other, as packed."""
        self.arrived = arrived
        self.deadline = deadline
        """Monotonic seconds; infinite when the caller set none."""
        self.shadow = shadow
        self.done = done
        self.cancelled = False
