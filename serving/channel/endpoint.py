"""Where a model replica listens and what it serves, as it publishes it. Pure."""

from __future__ import annotations

import msgspec

from serving.protocol.messages import Signature


class Endpoint(msgspec.Struct, frozen=True):
    """One replica's address: a Unix socket, since routers and replicas are on one machine."""

    replica_id: str
    uds: str
    node: str
    pid: int
    signature: Signature
    max_in_flight: int
    """Requests one connection may have outstanding: the flow-control credit."""
    facts: dict[str, str | int | float] = {}
    """What an operator may want to know of how the model is run: backend, provider, threads, batching."""
    guest: str = ""
    """Whom to ask for at a shared host; empty where the process serves one version."""
    load_s: float = 0.0
    """Seconds that the replica took from its start to a golden-checked answer."""
