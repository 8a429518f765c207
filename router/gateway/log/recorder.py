"""Turns answers into log records on the request path: encode at once, write all of a tick's records before its answers.

Called from the event loop's thread only. Nothing here raises for what a request contains or a disk does: a record that
cannot be kept is counted as dropped, with the reason, and the answer goes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zlib import crc32

from router.adapters.files.spool import RecordLog, SpoolFull
from router.requestlog.counters import DROPPED, SAMPLED_OUT, LogCounters
from router.requestlog.features import NO_FEATURES, size_bytes
from router.requestlog.record import Feature, Record, encode_record, record_id
from router.requestlog.redaction import Redactor, Redactors
from serving.protocol.messages import Buffer

ALL_BP: Final = 10_000
_FLUSH_AT_BYTES: Final = 4 << 20
_SPREAD: Final = 2654435761  # 2**32 over the golden ratio: neighbours in, strangers out


Payload = tuple[str, Buffer, Buffer, bool, bool, Mapping[str, Feature]]
"""What a record may keep: sticky key, inputs, outputs, whether each was left out, looked-up features."""


class Recorder:
    """Keeps the records of one router until the next `flush`.

    Three calls make a record, in this order, so that one that is sampled out costs little and none passes eighteen
    values from hand to hand: `admit`, `payload`, `keep`.
    """

    def __init__(
        self,
        log: RecordLog,
        *,
        incarnation: str,
        sample_bp: int = ALL_BP,
        model_sample_bp: Mapping[str, int] | None = None,
        payload_max_bytes: int = 64 << 10,
        redactors: Redactors | None = None,
    ) -> None:
        """Write to `log`.

        Args:
            log: where records go; its counters are used.
            incarnation: names this process for ever; part of every record's id.
            sample_bp: share of requests recorded, in basis points; 0 records none and counts all as sampled out.
            model_sample_bp: the same for single models.
            payload_max_bytes: larger packed inputs, or outputs, are left out of their record.
            redactors: rules of single models, which say what to hide; None costs nothing.
        """
        self.sample_bp = sample_bp
        self.model_sample_bp = dict(model_sample_bp or {})
        self._log = log
        self._counters = log.counters
        self._incarnation = incarnation
        self._payload_max_bytes = payload_max_bytes
        self._redactors = redactors
        self._sequence = 0
        self._frames: list[bytes] = []
        self._columns: list[int] = []
        self._pending_bytes = 0

    @property
    def counters(self) -> LogCounters:
        """Where all that this recorder was told of is counted."""
        return self._counters

    def admit(self, model: str, kind: str, request_id: str) -> int:
        """Decide whether an answer is recorded; return the column that counts it, or 0 after counting it as left out.

        Give `model=""` for a request that names no known model: names that clients make up would fill its slots. A
        shadow is decided by its primary's `request_id`.
        """
        column = self._counters.column(model, kind)
        share = self.model_sample_bp.get(model, self.sample_bp) if self.model_sample_bp else self.sample_bp
        if share < ALL_BP and not is_sampled(request_id, share):
            self._counters.cells[column + SAMPLED_OUT] += 1
            return 0
        return column

    def next_id(self) -> str:
        """Name the next record."""
        self._sequence += 1
        return record_id(self._incarnation, self._sequence)

    def payload(
        self, model: str, key: str, inputs: Buffer, outputs: Buffer, features: Mapping[str, Feature] = NO_FEATURES
    ) -> Payload:
        """Hide and cut what the model's rule says, before a byte reaches a disk."""
        cap = self._payload_max_bytes
        redactor = self._redactors.of(model) if self._redactors is not None else None
        if redactor is None:
            no_inputs, no_outputs = len(inputs) > cap, len(outputs) > cap
        else:
            cap = redactor.rule.payload_max_bytes or cap
            key = redactor.sticky_key(key)
            inputs, no_inputs = _redacted(redactor, inputs, cap)
            outputs, no_outputs = _redacted(redactor, outputs, cap)
            features = redactor.features(features) if features else features
        if features and size_bytes(features) > cap:
            features, no_inputs = NO_FEATURES, True
        return key, b"" if no_inputs else inputs, b"" if no_outputs else outputs, no_inputs, no_outputs, features

    def keep(self, column: int, record: Record) -> None:
        """Take a record whose answer was admitted to a column."""
        try:
            frame = encode_record(record)
        except (ValueError, OverflowError, TypeError):
            self._counters.cells[column + DROPPED["unencodable"]] += 1
            return
        self._frames.append(frame)
        self._columns.append(column)
        self._pending_bytes += len(frame)
        if self._pending_bytes >= _FLUSH_AT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all that was kept and count it, in one append; to be called before the answers leave."""
        if not self._frames:
            return
        frames, columns = self._frames, self._columns
        self._frames, self._columns, self._pending_bytes = [], [], 0
        try:
            self._log.append(b"".join(frames), columns)
        except SpoolFull:
            self._counters.add(columns, DROPPED["spool_full"])
        except OSError:
            self._counters.add(columns, DROPPED["disk_error"])


def _redacted(redactor: Redactor, packed: Buffer, cap: int) -> tuple[Buffer, bool]:
    """Hide what a rule says in a payload that will be kept; return also whether it must be left out after all."""
    if len(packed) > cap:
        return b"", True
    hidden = redactor.payload(packed)
    return (b"", True) if hidden is None else (hidden, len(hidden) > cap)


def is_sampled(request_id: str, share_bp: int) -> bool:
    """Decide by the request id, so that a primary and its shadows are kept together, or left out together."""
    scattered = crc32(request_id.encode("utf-8", "replace")) * _SPREAD & 0xFFFFFFFF
    return scattered * ALL_BP >> 32 < share_bp
