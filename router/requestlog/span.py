"""How far back a model's log goes, and what it holds: what a training could have. Pure."""

from __future__ import annotations

import msgspec

from router.requestlog.record import OK, PRIMARY, Record


class Span(msgspec.Struct, kw_only=True):
    """The records of one model's good answers to clients, between two moments."""

    first_at: float | None = None
    """Unix seconds; None when there is no record."""
    last_at: float | None = None
    first_record: str | None = None
    """Id of the record at `first_at`."""
    last_record: str | None = None
    records: int = 0
    labels: int = 0
    """Entries of labels that came for the model meanwhile; a request may have several."""

    def add(self, record: Record) -> None:
        """Take a record in, in any order, unless it is no good answer to a client."""
        if record.kind != PRIMARY or record.outcome != OK:
            return
        self.records += 1
        if self.first_at is None or record.at < self.first_at:
            self.first_at, self.first_record = record.at, record.id
        if self.last_at is None or record.at > self.last_at:
            self.last_at, self.last_record = record.at, record.id
