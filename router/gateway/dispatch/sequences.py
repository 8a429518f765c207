"""Keeps the requests of a sequence together: one version and one replica from its first request to its last.

The V2 sequence extension marks requests by `sequence_id`, the first by `sequence_start`, the last by `sequence_end`. A
model that keeps state between them can only go on where that state is. So the first request's decision holds for all,
also when the policy changes; and when its replica goes, the sequence is over: its next request fails and says so, and
the client starts again.

Routers share no memory, and a client's connections may end at different ones. So a first choice is made by hashing the
id, for the version as for the replica: routers that know the same replicas agree on it. What a router has chosen it
remembers, up to a bound, so that replicas that come later move no sequence.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

from router.policy.decision import Decision
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Parameter

#: Sequences that one router remembers; beyond it, the one that was quiet for longest is forgotten.
MAX_SEQUENCES: Final = 65_536

SequenceKey = tuple[str, str]
"""Model and id."""


class Sequence:
    """One sequence that is going on."""

    __slots__ = ("decision", "id", "replica_id")

    def __init__(self, sequence_id: str, decision: Decision) -> None:
        self.id = sequence_id
        self.decision = decision
        self.replica_id = ""
        """The replica that has its state; empty until its first request is sent."""

    def choose(self, replica_ids: Iterable[str]) -> str:
        """Choose a replica for the first request: the same on every router (rendezvous hashing); empty for none."""
        return max(replica_ids, key=self._score, default="")

    def lost(self) -> ServingError:
        """Say that the sequence cannot go on."""
        return ServingError(
            ErrorKind.UNAVAILABLE,
            f'the replica that held sequence "{self.id[:64]}" is gone; start the sequence again',
        )

    def _score(self, replica_id: str) -> bytes:
        return blake2b(f"{self.id}\0{replica_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def sequence_id(parameters: Mapping[str, Parameter]) -> str:
    """Read a request's sequence; empty for none, which 0 and "" stand for too."""
    value = parameters.get("sequence_id")
    return str(value) if value and not isinstance(value, bool) else ""


class Sequences:
    """The sequences that go on at this router."""

    def __init__(self, limit: int = MAX_SEQUENCES) -> None:
        self._limit = limit
        self._known: OrderedDict[SequenceKey, Sequence] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def follow(self, model: str, parameters: Mapping[str, Parameter], decision: Decision) -> Sequence | None:
        """Find a request's sequence, or begin it with the decision just made; None for a request that is in none."""
        found = sequence_id(parameters)
        if not found:
            return None
        key = (model, found)
        sequence = self._known.get(key)
        if sequence is None or parameters.get("sequence_start") is True or _is_elsewhere(sequence, decision):
            sequence = self._known[key] = Sequence(found, decision)
        self._known.move_to_end(key)
        if parameters.get("sequence_end") is True:
            del self._known[key]
        elif len(self._known) > self._limit:
            self._known.popitem(last=False)
        return sequence


def _is_elsewhere(sequence: Sequence, decision: Decision) -> bool:
    """Whether the request pins another version than the sequence has: a version pinned is never replaced."""
    return decision.reason == "pin" and decision.version != sequence.decision.version
