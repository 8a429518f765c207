"""The request log's accounting: requests = logged + sampled_out + dropped{reason}, exact also after SIGKILL. Pure.

Theory of operation
-------------------
Three rules, each as small as the fault that it answers.

1. *`requests` is nowhere stored: it is the sum.* The identity cannot be broken by dying between two writes because
   there is no second number to disagree with. What can go wrong is that a request is counted twice or not at all.

2. *`sampled_out` and `dropped` live only here*, in a file mapped shared into memory. Counting one is one aligned store
   of 8 bytes: it happened or it did not, and a dead process's stores stay in the page cache.

3. *`logged` is the number of records in the log; the number kept here is a copy for readers in other processes.*
   A batch is appended with one write, then counted, then the answers leave. Killed in between, the copy is behind, so
   whoever takes over the folder does not believe it but counts again. To keep that short, a checkpoint (the `logged` of
   every model at the start of the newest segment) is put in place by an atomic rename before a segment is begun:

       logged = checkpoint + records in the segments from the checkpoint on

   Both terms are on disk, absolute values are stored, and so the recount may itself be killed and repeated. A torn
   record at the end (killed within the write) was never answered; it is cut off and not counted.

Every answer that left was therefore counted once: it was sampled out (rule 2), appended (rule 3), or the append failed
and the whole batch was cut off again and counted as dropped (rule 2). A batch that was counted and whose answers did
not leave is no contradiction: those requests were settled, and their records say how.

Loss of power is different: the page cache is lost, of segments and counters alike; nothing here syncs them. What had
reached the disk is read and counted as after a kill.

This module has the values; `counters` those in the file, `router.adapters.files.spool` the order of the writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

OTHER_MODELS: Final = "(other)"
"""Stands for requests that name no known model, and for models past the last slot. Not a legal model name."""

DROP_REASONS: Final[tuple[str, ...]] = ("spool_full", "disk_error", "unencodable", "corrupt")
"""Why a record is not in the log: the spool's bound; a failing disk; a value that the format cannot hold; damaged on
disk after it was written. Append only, at most 14: the place in this tuple is the place in the file."""


class Tally(msgspec.Struct, frozen=True):
    """How requests ended as far as the log is concerned."""

    logged: int = 0
    sampled_out: int = 0
    dropped: dict[str, int] = {}
    """By reason; reasons that never occurred are absent."""

    @property
    def requests(self) -> int:
        """All of them: the identity, by definition."""
        return self.logged + self.sampled_out + sum(self.dropped.values())

    def __add__(self, other: Tally) -> Tally:
        reasons = [reason for reason in DROP_REASONS if reason in self.dropped or reason in other.dropped]
        dropped = {reason: self.dropped.get(reason, 0) + other.dropped.get(reason, 0) for reason in reasons}
        return Tally(self.logged + other.logged, self.sampled_out + other.sampled_out, dropped)

    def to_document(self) -> dict[str, Any]:
        """Render for the admin API."""
        return {
            "requests": self.requests,
            "logged": self.logged,
            "sampled_out": self.sampled_out,
            "dropped": dict(self.dropped),
        }


class ModelTally(msgspec.Struct, frozen=True):
    """A model's answers to clients, and its shadow calls, counted apart."""

    primary: Tally = Tally()
    shadow: Tally = Tally()

    def __add__(self, other: ModelTally) -> ModelTally:
        return ModelTally(self.primary + other.primary, self.shadow + other.shadow)


Tallies = Mapping[str, ModelTally]
"""By model name."""


def merge(parts: Iterable[Tallies]) -> dict[str, ModelTally]:
    """Add up the counts of several incarnations."""
    total: dict[str, ModelTally] = {}
    for part in parts:
        for model, tally in part.items():
            total[model] = total.get(model, ModelTally()) + tally
    return total


def to_document(tallies: Tallies) -> dict[str, Any]:
    """Render as `/admin/v1/log` gives it: the totals, `shadows` apart, and the same per model under `models`."""
    total = sum(tallies.values(), ModelTally())
    models = {
        model: {**tally.primary.to_document(), "shadows": tally.shadow.to_document()}
        for model, tally in sorted(tallies.items())
    }
    return {**total.primary.to_document(), "shadows": total.shadow.to_document(), "models": models}
