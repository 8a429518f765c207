"""Answers that wait for their labels in Redis or Valkey: where they lie, and how long.

Keys, under one prefix: `predictions:<model>:<part>`, a hash from request id to the answer, empty when it had its label
already. Time is cut into parts; a part's key expires as a whole, and holds a bounded number of answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from router.monitor.counting import Kept
from router.monitor.labels import encode_prediction

#: Parts that the time to live of an answer is cut into; an answer lives up to one part longer.
_PARTS: Final = 24
#: Answers that wait at most, of one model.
MAX_PREDICTIONS: Final = 1_000_000


class PredictionKeys:
    """Names the keys of answers."""

    def __init__(self, prefix: str, label_ttl_s: float, max_predictions: int = MAX_PREDICTIONS) -> None:
        self._prefix = prefix
        self._part_s = label_ttl_s / _PARTS
        self.room = max(1, max_predictions // _PARTS)
        """Answers of one key, at most."""
        self.expire_s = int(self._part_s * (_PARTS + 2)) + 1

    def group(self, kept: Iterable[Kept]) -> dict[str, dict[str, bytes]]:
        """Return what to store under which key; of two answers to one request the first."""
        found: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        for model, request_id, prediction in kept:
            key = self._key(model, int(prediction.at // self._part_s))
            if request_id not in found[key]:
                found[key][request_id] = encode_prediction(prediction)
        return found

    def around(self, model: str, now: float) -> list[str]:
        """List the keys in which answers may lie now."""
        last = int(now // self._part_s)
        return [self._key(model, part) for part in range(last - _PARTS, last + 2)]  # one ahead, for a clock that is

    def _key(self, model: str, part: int) -> str:
        return f"{self._prefix}predictions:{model}:{part}"
