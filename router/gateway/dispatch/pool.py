"""The replicas of one version as one router sees them: connections, balance, and calls that wait for a replica.

A version whose replicas are all gone is not an error: its calls wait here until a replica is back or their deadline
passes. How many may wait is bounded by admission, which counts them as in flight.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

from router.gateway.dispatch.call import Call
from router.gateway.dispatch.sequences import Sequence
from serving.channel.client import ReplicaChannel
from serving.channel.endpoint import Endpoint
from serving.channel.frames import Frame
from serving.protocol.errors import ErrorKind, ServingError

#: Pauses between attempts to reconnect to a replica that discovery still lists.
RECONNECT_FIRST_S: Final = 0.02
RECONNECT_MOST_S: Final = 1.0


class PoolOwner(Protocol):
    """Who settles calls."""

    def on_answers(self, answers: list[tuple[Call, Frame]]) -> None:
        """These calls were answered."""

    def on_lost_calls(self, calls: list[Call]) -> None:
        """The replica of these calls is gone; they may or may not have run."""

    def on_unsent(self, call: Call, error: Exception) -> None:
        """This call cannot be sent to any replica."""

    def now(self) -> float:
        """Monotonic seconds."""


class VersionPool:
    """Channels to the replicas of one model version; fits `ChannelOwner`."""

    def __init__(self, owner: PoolOwner, *, token: bytes, shadow: bool = False) -> None:
        self._owner = owner
        self._token = token
        self._shadow = shadow
        self._endpoints: dict[str, Endpoint] = {}
        self._links: dict[str, asyncio.Task[None]] = {}
        self._channels: list[ReplicaChannel[Call]] = []
        self._lost: dict[ReplicaChannel[Call], asyncio.Event] = {}
        self.waiting: deque[Call] = deque()

    def __repr__(self) -> str:
        return f"<VersionPool {len(self._channels)} of {len(self._endpoints)} connected, {len(self.waiting)} waiting>"

    @property
    def endpoints(self) -> Iterable[Endpoint]:
        """The replicas that discovery lists."""
        return self._endpoints.values()

    @property
    def in_flight(self) -> int:
        """Calls that replicas hold."""
        return sum(len(channel.pending) for channel in self._channels)

    @property
    def connected(self) -> bool:
        """At least one replica can be called."""
        return any(channel.ready and not channel.draining for channel in self._channels)

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Follow discovery: connect to what is new, let go of what is gone once it has answered."""
        listed = {endpoint.replica_id: endpoint for endpoint in endpoints}
        for replica_id in self._endpoints.keys() - listed.keys():
            self._links.pop(replica_id).cancel()
        for replica_id in listed.keys() - self._endpoints.keys():
            self._links[replica_id] = asyncio.create_task(self._keep_linked(listed[replica_id]))
        self._endpoints = listed

    def submit(self, call: Call, *, elsewhere_than: ReplicaChannel[Call] | None = None) -> None:
        """Send a call to the less loaded of two replicas, or let it wait when none can take it.

        A replica that has just refused the call is asked again only where there is no other.

        Raises:
            ServingError: the call belongs to a sequence, and the one replica that could take it cannot.
        """
        call.pool = self
        if call.sequence is not None and (self._channels or call.sequence.replica_id):
            self._send(call, self._channel_of(call.sequence))
            return
        channel = self._pick(elsewhere_than) if not self.waiting else None
        if channel is None and call.attempts:
            self.waiting.appendleft(call)
        elif channel is None:
            self.waiting.append(call)
        else:
            self._send(call, channel)

    def withdraw(self, call: Call) -> None:
        """Give up on a call, wherever it is."""
        if call.channel is not None:
            call.channel.cancel(call.number)
            self.on_credit(call.channel)
        else:
            with suppress(ValueError):
                self.waiting.remove(call)

    async def close(self) -> None:
        """Hang up everywhere; calls still in flight are reported as lost."""
        links = list(self._links.values())
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        for channel in list(self._channels):
            channel.close()

    def on_answers(self, answers: list[tuple[Call, Frame]]) -> None:
        """Pass on."""
        self._owner.on_answers(answers)

    def on_lost(self, channel: ReplicaChannel[Call], calls: list[Call]) -> None:
        """Forget a connection; its calls go back to the owner, who retries or fails them."""
        if channel in self._channels:
            self._channels.remove(channel)
        lost = self._lost.pop(channel, None)
        if lost:
            lost.set()
        if calls:
            self._owner.on_lost_calls(calls)

    def on_credit(self, channel: ReplicaChannel[Call]) -> None:
        """Let waiting calls go; let go of a replica that drains and owes nothing."""
        if channel.draining and not channel.pending:
            channel.close()
        while self.waiting:
            free = self._pick()
            if free is None:
                return
            self._send(self.waiting.popleft(), free)

    def _pick(self, shunned: ReplicaChannel[Call] | None = None) -> ReplicaChannel[Call] | None:
        """Power of two choices on exact in-flight counts (Mitzenmacher, 2001); when both are full, any that is not."""
        channels = self._channels
        if shunned is not None and len(channels) > 1:
            channels = [channel for channel in channels if channel is not shunned]
        if len(channels) == 1:
            return channels[0] if channels[0].free > 0 else None
        if not channels:
            return None
        one, other = random.sample(channels, 2)
        best = one if one.free >= other.free else other
        if best.free <= 0:
            best = max(channels, key=lambda channel: channel.free)
        return best if best.free > 0 else None

    def _channel_of(self, sequence: Sequence) -> ReplicaChannel[Call]:
        """Find the one replica for a sequence, chosen now if it has none yet.

        Raises:
            ServingError: UNAVAILABLE when the replica is gone, OVERLOADED when it has no credit: nobody waits for one
                replica, since that would hold up those behind who can go to any.
        """
        able = {channel.endpoint.replica_id: channel for channel in self._channels if not channel.draining}
        wanted = sequence.replica_id or sequence.choose(able)
        channel = able.get(wanted)
        if channel is None:
            raise sequence.lost()
        if channel.free <= 0:
            raise ServingError(
                ErrorKind.OVERLOADED, f'the replica that holds sequence "{sequence.id[:64]}" is busy; retry later'
            )
        return channel

    def _send(self, call: Call, channel: ReplicaChannel[Call]) -> None:
        call.attempts += 1
        if call.sequence is not None:
            call.sequence.replica_id = channel.endpoint.replica_id
        timeout_ms = max(1, int((call.deadline - self._owner.now()) * 1e3))
        try:
            call.number = channel.send(call, call.packed, extra=call.extra, timeout_ms=timeout_ms, shadow=self._shadow)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end others' calls on this connection
            self._owner.on_unsent(call, error)
        else:
            call.channel = channel

    async def _keep_linked(self, endpoint: Endpoint) -> None:
        """Stay connected to a replica for as long as discovery lists it."""
        pause_s = RECONNECT_FIRST_S
        channel: ReplicaChannel[Call] | None = None
        try:
            while True:
                channel = ReplicaChannel(endpoint, self._token, self)
                lost = self._lost[channel] = asyncio.Event()
                try:
                    await channel.connect()
                except OSError:
                    self._lost.pop(channel, None)
                else:
                    if not lost.is_set():
                        self._channels.append(channel)
                        self.on_credit(channel)  # the replica's greeting may have come before this task's turn
                    await lost.wait()
                    if channel.was_ready:  # a peer that hangs up on our hello is retried ever more slowly
                        pause_s = RECONNECT_FIRST_S
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RECONNECT_MOST_S)
        finally:
            if channel is not None:
                channel.draining = True
                self.on_credit(channel)
