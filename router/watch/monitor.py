"""The monitor's loop: read, enter, judge, store all of it at once; then act on what was stored. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from router.adapters.redis.monitor_state import LeaseLost, RedisMonitorState
from router.adapters.redis.monitor_turn import Commit, Entries
from router.adapters.redis.stream_entries import StreamEntry
from router.cancellation import end_if_cancelled
from router.monitor.book import Book
from router.monitor.book_settings import BookSettings
from router.monitor.counting import Arrived, Counts, decode_counts, shadow_id
from router.monitor.evaluation import Standing
from router.monitor.incident import Transition
from router.monitor.labels import Label, Pairing
from router.monitor.reach import Reach, reach_of
from router.monitor.sampling import share_kept
from router.monitor.state import Arm, Version
from router.monitor.trial import Trials
from router.performance.severity import Severity
from router.ports import StoreUnavailable
from router.requestlog.record import FirstSeen
from router.watch.entries import read_entries, read_label_entry
from router.watch.rollback import Rollback
from router.watch.trial_finder import TrialFinder

#: Entries of either stream that are taken at once.
_BATCH: Final = 64
#: Longest pause between two looks at the clock; new entries end it at once.
_BLOCK_MS: Final = 500
_RETRY_S: Final = 1.0
#: A label may come before the record of its answer was shipped.
LABEL_PATIENCE_S: Final = 30.0
_LOOK_AGAIN_S: Final = 1.0
#: Pause between two looks for profiles that were attached later.
_RENEW_S: Final = 5.0
_MAX_WAITING: Final = 10_000
_log = logging.getLogger(__name__)


class Monitor:
    """One run of the monitor: goes on where the last one stored, and holds nothing that cannot be read again."""

    def __init__(
        self,
        state: RedisMonitorState,
        rollback: Rollback,
        settings: BookSettings,
        *,
        trials: TrialFinder,
        attached: Callable[[str, int], bytes | None],
        clock: Callable[[], float] = time.time,
        label_patience_s: float = LABEL_PATIENCE_S,
    ) -> None:
        self._state = state
        self._rollback = rollback
        self._finder = trials
        self._settings = settings
        self._attached = attached
        self._clock = clock
        self._label_patience_s = label_patience_s
        self.book = Book(settings, attached)
        self._trials = Trials()
        self._seen = FirstSeen()
        self._waiting: dict[str, tuple[Label, float]] = {}
        """By stream id: labels whose answer was not found yet, and when they were read."""
        self._until = 0.0
        """By the log's clock: what came before has been entered."""
        self._looked_at = 0.0
        self._checked_at = 0.0
        self._renewed_at = 0.0
        self._careful = False
        """The last turn failed: entries are taken in one by one, to find the one that is to blame."""

    @property
    def sampled(self) -> dict[str, float]:
        """By model: the share of its answers that wait for labels, where that is not all of them."""
        return {model: share_kept(level) for model, level in self._state.levels().items()}

    async def run(self) -> None:
        """Go on until cancelled, whatever goes away and comes back."""
        is_down = False
        while True:
            try:
                await self._begin()
                is_down = False
                while True:
                    end_if_cancelled()
                    until = await self._state.counted_until()
                    found = await self._state.read(_BATCH, _BLOCK_MS)
                    if len(found.counts) < _BATCH:  # all that had been counted then is here now
                        self._until = until
                    await self.turn(found)
            except (StoreUnavailable, LeaseLost) as error:
                if not is_down:
                    _log.warning("The monitor is waiting: %s", error)
                is_down = True
            except Exception:  # noqa: BLE001 - one that ends watches nothing
                _log.exception("Monitoring failed; starting again from the stored state, one entry at a time")
                self._careful = True
            end_if_cancelled()
            await asyncio.sleep(_RETRY_S)

    async def _begin(self) -> None:
        """Become the one who writes, read what is stored, and enter what was read but never stored."""
        while not await self._state.take_lease():  # noqa: ASYNC110 - nobody tells when a lease expires
            await asyncio.sleep(_RETRY_S)
        await self._restore()
        found = await self._state.unacknowledged()
        size = 1 if self._careful else _BATCH
        for start in range(0, max(map(len, found)), size):
            part = Entries(*[entries[start : start + size] for entries in found])
            if self._careful:
                await self._turn_or_set_aside(part)
            else:
                await self.turn(part)
        self._careful = False

    async def _restore(self) -> None:
        parts, seen = await self._state.load()
        self.book = Book(self._settings, self._attached)
        self.book.restore(parts)
        self._trials = Trials()
        self._trials.restore(parts)
        self._seen = FirstSeen(seen)

    async def _turn_or_set_aside(self, found: Entries) -> None:
        """Take one entry of each stream in; the one that cannot be, whatever it raises, is kept aside."""
        try:
            await self.turn(found)
        except (StoreUnavailable, LeaseLost):
            raise
        except Exception:  # noqa: BLE001 - any failure is the entry's: everything else has been stored
            _log.exception("Cannot process %s; moved to log:poison", _names(found))
            await self._restore()
            aside = [(entry.id, b"".join(entry.fields.values())) for entries in found for entry in entries]
            log_ids, count_ids, label_ids = ([entry.id for entry in entries] for entries in found)
            for entry_id in label_ids:
                self._waiting.pop(entry_id, None)
            await self._state.commit(Commit(log_ids=log_ids, count_ids=count_ids, label_ids=label_ids, poison=aside))

    async def turn(self, found: Entries) -> None:
        """Take entries in, judge what can be judged, and store the whole."""
        now = self._clock()
        commit = Commit(log_ids=[entry.id for entry in found.log], count_ids=[entry.id for entry in found.counts])
        arrivals, commit.poison = self._new_records(found.log)
        shared = [decode_counts(entry.fields[b"counts"]) for entry in found.counts]
        kept = self.book.enter(arrivals)
        for counts in shared:
            kept += self.book.add(counts)
        await self._count_trials(arrivals, shared)
        if arrivals:
            commit.seen = self._seen.last
        if now - self._renewed_at >= _RENEW_S:
            self._renewed_at = now
            self.book.renew()
        commit.kept = [*kept, *self.book.judge(self._until)]
        if commit.kept:  # their labels may lie in this very turn
            await self._store(commit)
            commit = Commit()
        commit.label_ids, commit.labelled = await self._take_labels(found.labels, now)
        commit.transitions = await self._evaluate(now)
        await self._store(commit)

    async def _count_trials(self, arrivals: Sequence[Arrived], shared: Sequence[Counts]) -> None:
        """Begin the trials whose arms have answered, and count for them."""
        records = [each.record for each in arrivals]
        arms = {Arm(record.model, record.version, record.variant) for record in records}
        arms |= {arm for counts in shared for arm, _ in counts.arms}
        for trial in await self._finder.trials_of(arms):
            self._trials.begin(trial, self.book.profile(trial.model, trial.control.version))
        self._trials.enter(records)
        for counts in shared:
            self._trials.add(counts.trials)

    async def _store(self, commit: Commit) -> None:
        commit.parts = self.book.changes() | self._trials.changes()
        commit.references, commit.trials = self.book.adopted(), self._trials.begun()
        if not commit.is_empty:
            await self._state.commit(commit)
        elif not await self._state.take_lease():
            raise LeaseLost

    def _new_records(self, entries: Sequence[StreamEntry]) -> tuple[list[Arrived], list[tuple[str, bytes]]]:
        """Read each record once; what cannot be read is given back to be kept aside."""
        arrivals, poison = read_entries(entries)
        return [each for each in arrivals if self._seen.is_new(each.record)], poison

    async def _take_labels(self, entries: Sequence[StreamEntry], now: float) -> tuple[list[str], list[tuple[str, str]]]:
        """Join labels with their answers; return the entries that are done with, and the answers that were labelled."""
        done: list[str] = []
        for entry in entries:
            label = read_label_entry(entry)
            if label is not None:
                self._waiting[entry.id] = (label, now)
                continue
            done.append(entry.id)
            if b"model" in entry.fields and b"label" in entry.fields:  # not an outcome alone, nor trimmed
                self.book.miss(entry.fields[b"model"].decode("utf-8", "replace"), invalid=1)
        if not entries and now - self._looked_at < _LOOK_AGAIN_S:
            return done, []
        self._looked_at = now
        by_model: defaultdict[str, dict[str, Label]] = defaultdict(dict)
        for entry_id, (label, _) in self._waiting.items():
            by_model[label.model][entry_id] = label
        labelled: list[tuple[str, str]] = []
        for model, waiting in by_model.items():
            joined, over = await self._join(model, waiting, now)
            labelled += joined
            done += over
        for entry_id in done:
            self._waiting.pop(entry_id, None)
        return done, labelled

    async def _join(self, model: str, waiting: dict[str, Label], now: float) -> tuple[list[tuple[str, str]], list[str]]:
        shadows = self.book.shadows(model)
        names = {
            label.request_id: [label.request_id, *[shadow_id(label.request_id, version) for version in shadows]]
            for label in waiting.values()
        }
        found = await self._state.find(model, [name for each in names.values() for name in each], now)
        labelled: dict[str, str] = {}
        pairings: list[Pairing] = []
        over: list[str] = []
        for entry_id, label in waiting.items():
            answers = {name: found[name] for name in names[label.request_id] if name in found}
            if not answers and not self._state.is_kept(model, label.request_id):
                self.book.miss(model, unsampled=1)
                over.append(entry_id)
                continue
            if not answers:
                is_late = now - self._waiting[entry_id][1] > self._label_patience_s
                if is_late or len(self._waiting) - len(over) > _MAX_WAITING:
                    self.book.miss(model, unknown=1)
                    over.append(entry_id)
                continue
            over.append(entry_id)
            fresh = [
                (name, answer.key, Pairing(answer.prediction, label))
                for name, answer in answers.items()
                if answer.prediction is not None and name not in labelled
            ]
            if not fresh:
                self.book.miss(model, duplicate=1)
            labelled |= {name: key for name, key, _ in fresh}
            pairings += [pairing for *_, pairing in fresh]
        if pairings:
            self.book.learn(model, pairings)
            self._trials.learn(model, pairings)
        return [(key, name) for name, key in labelled.items()], over

    async def _evaluate(self, now: float) -> list[Transition]:
        due = await self._look(now)
        if not due:
            return []
        holds = await self._state.holds()
        transitions: list[Transition] = []
        for version, reach in due.items():
            reached = self.book.follow(version, reach, now)
            worst = max((arm.alarm.severity for arm in reached.values()), default=Severity.OK)
            target = await self._rollback.target(*version) if worst >= Severity.EMERGENCY else None
            transitions += self.book.evaluate(version, now, Standing(reach, target, held=version[0] in holds))
        for each in transitions:
            _log.info("Incident %s: %s, %s", each.incident.id, each.act, each.incident.severity)
        return transitions

    async def _look(self, now: float) -> dict[Version, Reach]:
        """Note which arms requests reach, now and then of all versions, since an arm that leaves gives no news.

        Returns:
            The versions to be evaluated, and how requests reach them.
        """
        stirred, silent = self.book.stirred(), set[Version]()
        if now - self._checked_at >= _LOOK_AGAIN_S:
            self._checked_at = now
            silent = {arm[:2] for arm in self.book.arms} - stirred
        incidents = self.book.under_incident()
        due: dict[Version, Reach] = {}
        for model, versions in groupby(sorted(stirred | silent), itemgetter(0)):
            policy = await self._rollback.policy(model)
            for version in versions:
                reach = reach_of(policy, version[1])
                reached = self.book.follow(version, reach, now)
                if version in stirred or (version in incidents and not reached):
                    due[version] = reach
        return due


def _names(found: Entries) -> str:
    """Name entries for a log message."""
    named = zip(("log entry", "counts", "label"), found, strict=True)
    return ", ".join(f"{what} {entry.id}" for what, entries in named for entry in entries)
