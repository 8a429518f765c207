"""One of several counters: reads its part of the log, and stores what it counted. Knows no Ray.

A counter remembers nothing: what it has read and not stored when it dies is taken over by another one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from router.adapters.redis.counting import Batch, RecordsTaken, RedisCounting, ReferenceChanged
from router.adapters.redis.stream_entries import StreamEntry
from router.cancellation import end_if_cancelled
from router.drift.binning import Binner
from router.drift.profile import decode_profile
from router.monitor.counting import Arrived, count, encode_counts
from router.monitor.drift import WindowSettings
from router.monitor.state import Version
from router.monitor.trial import TrialBins, bins_of, count_trials
from router.ports import StoreUnavailable
from router.requestlog.sequences import Unclaimed, runs_of
from router.watch.entries import read_entries

_BATCH: Final = 64
_BLOCK_MS: Final = 500
_RETRY_S: Final = 1.0
#: Pause between two looks for entries whose readers are gone.
_TAKE_OVER_S: Final = 2.0
#: Counts that the monitor has not added up yet, beyond which counters wait for it.
_MAX_BACKLOG: Final = 256
_log = logging.getLogger(__name__)


class Counter:
    """Counts until it is cancelled."""

    def __init__(
        self, source: RedisCounting, settings: WindowSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._settings = settings
        self._clock = clock
        self._binners: dict[Version, Binner] = {}
        self._trials: dict[str, TrialBins] = {}
        self._took_over_at = 0.0

    async def run(self) -> None:
        """Go on until cancelled, whatever goes away and comes back."""
        while True:
            try:
                await self._source.begin()
                while True:
                    end_if_cancelled()
                    await self._turn()
            except StoreUnavailable as error:
                _log.warning("The counter is waiting: %s", error)
            except Exception:  # noqa: BLE001 - one that ends counts nothing
                _log.exception("Counting failed; the counter starts again from what is not acknowledged")
            end_if_cancelled()
            await asyncio.sleep(_RETRY_S)

    async def _turn(self) -> None:
        while await self._source.backlog() > _MAX_BACKLOG:  # noqa: ASYNC110 - the monitor is busy, or away
            await asyncio.sleep(_RETRY_S)
        entries: list[StreamEntry] = []
        if self._clock() - self._took_over_at >= _TAKE_OVER_S:
            self._took_over_at = self._clock()
            entries = await self._source.take_over(_BATCH)
        entries = entries or await self._source.read(_BATCH, _BLOCK_MS)
        if entries:
            await self.take(entries)

    async def take(self, entries: Sequence[StreamEntry]) -> None:
        """Count entries and store the counts; an entry that cannot be counted is kept aside."""
        while True:
            await self._renew()
            try:
                await self._store(entries)
            except ReferenceChanged:
                continue
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, one of the entries is to blame
                _log.exception("Cannot count %d log entries; retrying one by one to find the bad entry", len(entries))
                break
            return
        if len(entries) > 1:
            for entry in entries:
                await self.take([entry])
            return
        _log.error("Cannot count log entry %s; moved to log:poison", entries[0].id)
        aside = [(entry.id, entry.fields.get(b"records", b"")) for entry in entries]
        await self._source.store(Batch(ids=[entry.id for entry in entries], poison=aside))

    async def _store(self, entries: Sequence[StreamEntry]) -> None:
        arrivals, poison = read_entries(entries)
        unclaimed = Unclaimed()
        while True:
            free = [each for each in arrivals if unclaimed.is_free(each.record)]
            try:
                await self._source.store(self._counted(entries, free, poison))
            except RecordsTaken as taken:
                unclaimed.take_out(taken.runs)
                unclaimed.begin_again()
            else:
                return

    def _counted(
        self, entries: Sequence[StreamEntry], arrivals: Sequence[Arrived], poison: Sequence[tuple[str, bytes]]
    ) -> Batch:
        counts, kept = count(arrivals, self._binners.get, self._settings)
        counts.trials = count_trials([each.record for each in arrivals], self._trials)
        return Batch(
            ids=[entry.id for entry in entries],
            counts=encode_counts(counts) if counts.arms or counts.strangers else b"",
            references={arm[:2]: part.reference for arm, part in counts.arms},
            runs=runs_of([each.record for each in arrivals]),
            kept=kept,
            poison=poison,
        )

    async def _renew(self) -> None:
        """Fetch the profiles that versions are held against by now, and the trials that are under way."""
        names = await self._source.references()
        for version, name in names.items():
            binner = self._binners.get(version)
            if binner is not None and binner.name == name:
                continue
            document = await self._source.profile(version)
            if document is not None:
                self._binners[version] = Binner(decode_profile(document))
        for model, trial in (await self._source.trials()).items():
            known = self._trials.get(model)
            state = await self._source.trial(model) if known is None or known.trial.id != trial else None
            if state is not None and (bins := bins_of(state)) is not None:
                self._trials[model] = bins
