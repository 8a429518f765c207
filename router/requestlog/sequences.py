"""Which records were counted already, as runs of their routers' sequence numbers. Pure.

Records of one router are numbered without gaps but for a few that could not be kept, so the numbers of a batch make few
runs. Whoever counts claims its runs together with storing the counts: of two that have read the same records, the
second one is told which runs are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from router.requestlog.record import Record, parse_id


class Run(NamedTuple):
    """Consecutive records of one router, both ends included."""

    incarnation: str
    first: int
    last: int


def runs_of(records: Iterable[Record]) -> list[Run]:
    """Return the runs of some records; those with ids that no router makes are in none."""
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for record in records:
        if (parsed := parse_id(record.id)) is not None:
            numbers[parsed[0]].add(parsed[1])
    runs: list[Run] = []
    for incarnation, found in numbers.items():
        for number in sorted(found):
            if runs and runs[-1].incarnation == incarnation and runs[-1].last == number - 1:
                runs[-1] = runs[-1]._replace(last=number)
            else:
                runs.append(Run(incarnation, number, number))
    return runs


class Unclaimed:
    """Tells records that nobody has counted from those that somebody has, this batch itself included."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, list[Run]] = defaultdict(list)
        self._met: set[tuple[str, int]] = set()

    def take_out(self, runs: Sequence[Run]) -> None:
        """Learn that runs are taken."""
        for run in runs:
            self._taken[run.incarnation].append(run)

    def is_free(self, record: Record) -> bool:
        """Return whether nobody has counted a record; ask once."""
        parsed = parse_id(record.id)
        if parsed is None:
            return True
        if parsed in self._met:
            return False
        self._met.add(parsed)
        return not any(run.first <= parsed[1] <= run.last for run in self._taken[parsed[0]])

    def begin_again(self) -> None:
        """Forget what was asked; what is taken stays so."""
        self._met.clear()
