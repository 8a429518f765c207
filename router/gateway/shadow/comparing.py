"""Compares shadows' answers with their primaries' off the hot path: a bounded queue and a small share of the loop.

A router has one core, so work that can wait must not fill it. Taking a pair costs one append. One comparison runs per
turn of the loop, and after one that took t the next waits 19 t: comparing never takes more than a twentieth of the
loop, whatever the traffic and the size of the answers. What does not fit is counted as not compared: comparisons are a
sample anyway, and the traffic is not. (A thread would save nothing: it would take the same GIL, in slices of 5 ms.)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import Final, NamedTuple

from router.analysis.answers import Gap, compare_answers
from router.analysis.shadow_report import Example, ShadowReport, comparison_of, distance_of, worst
from router.gateway.dispatch.call import Call
from router.gateway.dispatch.meters import Meters
from serving.protocol.arrays import to_array
from serving.protocol.errors import ServingError
from serving.protocol.messages import Tensor
from serving.protocol.packing import unpack_tensors

#: Part of the loop's time that comparing may take.
SHARE: Final = 0.05
#: Pairs that may wait, and the bytes of their answers.
QUEUE_PAIRS: Final = 256
QUEUE_BYTES: Final = 8 * 1024 * 1024
#: Characters of a row that an example keeps.
_EXAMPLE_CHARACTERS: Final = 200

VersionKey = tuple[str, int]
_log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """Two answers to one request."""

    key: VersionKey
    """The shadowed model and version that this is about."""
    primary: Call
    other: Call
    is_noise: bool
    """The other answer is the primary version's own, asked again."""

    @property
    def size(self) -> int:
        """Bytes held while it waits."""
        return len(self.primary.outputs) + len(self.other.outputs)


class Comparer:
    """Owns the queue and this router's reports."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Pair] = deque()
        self._bytes = 0
        self._next: asyncio.TimerHandle | None = None
        self.reports: dict[VersionKey, ShadowReport] = {}
        """By shadowed version; replaced, never changed."""

    def __repr__(self) -> str:
        return f"<Comparer {len(self._queue)} waiting, {self._bytes} bytes>"

    def offer(self, pair: Pair) -> bool:
        """Take a pair if there is room."""
        if len(self._queue) >= QUEUE_PAIRS or self._bytes + pair.size > QUEUE_BYTES:
            return False
        self._queue.append(pair)
        self._bytes += pair.size
        if self._next is None:
            self._next = self._loop.call_later(0, self._turn)
        return True

    def close(self) -> None:
        """Leave what still waits."""
        if self._next is not None:
            self._next.cancel()
        self._queue.clear()
        self._bytes = 0

    def _turn(self) -> None:
        started = perf_counter()
        pair = self._queue.popleft()
        self._bytes -= pair.size
        try:
            self._compare(pair)
        except Exception:  # noqa: BLE001 - the other pairs are worth comparing still
            _log.exception("Cannot compare the answers to %s", pair.primary.id)
        spent_s = perf_counter() - started
        self._next = self._loop.call_later(spent_s / SHARE - spent_s, self._turn) if self._queue else None

    def _compare(self, pair: Pair) -> None:
        try:
            mine, theirs = unpack_tensors(pair.primary.outputs), unpack_tensors(pair.other.outputs)
            gap = compare_answers(mine, theirs)
        except ServingError as error:
            mine, theirs, gap = (), (), Gap(agrees=False, malformed=error.message)
        seen = comparison_of(gap)
        report = self.reports.get(pair.key, ShadowReport())
        if pair.is_noise:
            report = ShadowReport(report.shadow, report.noise + seen, report.examples)
        else:
            examples = report.examples if gap.agrees else _with_example(report.examples, pair, gap, (mine, theirs))
            report = ShadowReport(report.shadow + seen, report.noise, examples)
        self.reports[pair.key] = report
        self._meters.count_comparison(*pair.key, gap, is_noise=pair.is_noise)


def _with_example(
    examples: tuple[Example, ...], pair: Pair, gap: Gap, answers: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
) -> tuple[Example, ...]:
    """Keep this pair if it is among the worst; showing values is the costly part, so only then."""
    distance = distance_of(gap)
    if worst([*examples, Example(distance, pair.primary.id, "", "", "", "")]) == examples:
        return examples
    if gap.malformed:
        return worst([*examples, Example(distance, pair.primary.id, pair.other.id, "", "", gap.malformed)])
    farthest = max(gap.outputs, key=lambda each: (each.flips, each.largest))
    mine, theirs = ({tensor.name: tensor for tensor in answer}[farthest.name] for answer in answers)
    shown = (_row_text(mine, farthest.row), _row_text(theirs, farthest.row))
    return worst([*examples, Example(distance, pair.primary.id, pair.other.id, farthest.name, *shown)])


def _row_text(tensor: Tensor, row: int) -> str:
    array = to_array(tensor)
    values = array.reshape(-1, array.shape[-1])[row] if array.ndim > 1 else array.reshape(-1)[row : row + 1]
    return str(values[:16].tolist())[:_EXAMPLE_CHARACTERS]
