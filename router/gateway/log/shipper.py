"""Ships a router's spool, and those that dead routers left on this node, to the stream; runs in the router's own loop.

No record is looked at on the way: stretches of whole records go from segment file to stream entry. How far a spool is
shipped is the stream's word alone: it is asked at the start and after every failure, and every append is conditional on
it. So a spool arrives exactly once, whoever ships it and however often that is interrupted.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from router.adapters.files.spool import NoSpool, Spool
from router.adapters.files.spool_accounting import TOTALS, fold, incarnation_folders, is_folded
from router.adapters.files.spool_folder import SpoolFolder, adopt
from router.cancellation import end_if_cancelled
from router.ports import StoreUnavailable

_log = logging.getLogger(__name__)

ENTRY_BYTES: Final = 256 << 10
_ENTRIES_PER_TURN: Final = 16
_MAX_BACKOFF_S: Final = 5.0


class RecordStream(Protocol):
    """Where records go; every method may raise `StoreUnavailable`."""

    async def shipped(self, incarnation: str) -> int:
        """Return the logical offset up to which the stream has an incarnation's records."""

    async def append(self, incarnation: str, offset: int, records: bytes, *, known: int) -> int:
        """Add records unless the offset is not `known` any more; return the offset that stands."""

    async def forget(self, incarnation: str) -> None:
        """Drop what is known of an incarnation whose spool is gone."""


class Transfer:
    """One spool on its way to the stream."""

    def __init__(self, folder: SpoolFolder, stream: RecordStream) -> None:
        self.folder = folder
        self._stream = stream
        self._known: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the stream is known to have everything."""
        return self._known is not None and self._known >= self.folder.end

    async def ship(self, max_entries: int) -> bool:
        """Ship up to so many entries; return whether more waits."""
        folder = self.folder
        for _ in range(max_entries):
            if self._known is None:
                self._known = await self._stream.shipped(folder.incarnation)
                folder.release(min(self._known, folder.end))
            # Behind `start` when the stream forgot what it had: what is gone here too cannot be sent again.
            offset = max(self._known, folder.start)
            try:
                records = folder.read(offset, ENTRY_BYTES)
            except FileNotFoundError as error:
                if not folder.lose_oldest():
                    raise
                _log.error("records were deleted before they were shipped: %s", error)
                continue
            if not records:
                break
            known, self._known = self._known, None  # unknown until answered, also when cancelled here
            self._known = await self._stream.append(folder.incarnation, offset, records, known=known)
            folder.release(min(self._known, folder.end))
        return not self.is_complete


class Shipper:
    """Owns the spool's way out of the process: shipping, adopting, folding."""

    def __init__(
        self,
        spool: Spool | NoSpool,
        stream: RecordStream,
        *,
        root: Path,
        interval_s: float = 0.2,
        adopt_interval_s: float = 5.0,
    ) -> None:
        """Ship `spool` and orphans under `root`.

        Args:
            spool: this router's; closed by `stop`.
            stream: where records go.
            root: folder of the node's spools.
            interval_s: pause when all is shipped; the age of a record in the stream is about this.
            adopt_interval_s: how often to look for spools of dead routers.
        """
        self._spool = spool
        self._own = Transfer(spool.folder, stream) if spool.folder is not None else None
        self._orphans: list[Transfer] = []
        self._unusable: set[Path] = set()
        self._stream = stream
        self._root = root
        self._interval_s = interval_s
        self._adopt_interval_s = adopt_interval_s
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of this router's spool that are not known to be shipped."""
        folder = self._spool.folder
        return folder.end - folder.counters.shipped if folder is not None else 0

    def start(self) -> None:
        """Begin, in the running loop."""
        self._tasks = [asyncio.create_task(self._keep_shipping()), asyncio.create_task(self._keep_adopting())]

    async def stop(self, timeout_s: float = 5.0) -> bool:
        """Ship what is left, for so long at most, and close the spool; call after the recorder's last flush.

        Returns whether all went out. What did not stays on disk for the next router.
        """
        self._stopping.set()
        if self._tasks:
            # Told, not cancelled: the Redis client swallows a cancellation while it connects.
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        complete = self._own is None or self._own.is_complete
        self._spool.close()
        for orphan in self._orphans:
            orphan.folder.close()
        if self._spool.folder is not None:
            await self._let_go(self._spool.folder, complete=complete)
        return complete

    async def _let_go(self, folder: SpoolFolder, *, complete: bool) -> None:
        if not complete:
            folder.close()
            return
        try:
            await asyncio.to_thread(fold, folder)
        except (OSError, ValueError) as error:
            _log.warning("%s is shipped but cannot be cleared: %s; trying again later", folder.path, error)
            folder.close()
            return
        with suppress(StoreUnavailable):  # then a number too many stays in a hash
            await self._stream.forget(folder.incarnation)

    async def _keep_shipping(self) -> None:
        """Ship until told to stop, and then what is left of the own spool; a failure then ends it."""
        failures = 0
        while True:
            end_if_cancelled()
            stopping = self._stopping.is_set()
            more = False
            try:
                more = await self._take_turns()
                if failures:
                    _log.info("the request log is shipped again, after %d attempts", failures)
                failures = 0
            except Exception as error:  # noqa: BLE001 - a supervisor: nothing may end the shipping
                if not failures:
                    _log.warning("the request log waits on disk: %s", error, exc_info=_unexpected(error))
                failures += 1
            if stopping and not more:
                return
            if not more:
                back_off_s = min(self._interval_s * 2.0 ** min(failures, 16), _MAX_BACKOFF_S)
                await self._pause(max(back_off_s, self._interval_s))

    async def _take_turns(self) -> bool:
        more = self._own is not None and await self._own.ship(_ENTRIES_PER_TURN)
        if self._stopping.is_set():
            return more
        for orphan in tuple(self._orphans):
            try:
                if await orphan.ship(_ENTRIES_PER_TURN):
                    more = True
                    continue
            except (OSError, ValueError) as error:  # its own files': the other spools go on
                self._set_aside(orphan, error)
                continue
            self._orphans.remove(orphan)
            _log.info("shipped what the dead router %s had left", orphan.folder.incarnation)
            await self._let_go(orphan.folder, complete=True)
        return more

    def _set_aside(self, orphan: Transfer, error: Exception) -> None:
        """Let an orphan go that cannot be read now; it is taken over again as its files are then."""
        self._orphans.remove(orphan)
        orphan.folder.close()
        self._tell_unusable(orphan.folder.path, error)

    async def _keep_adopting(self) -> None:
        while not self._stopping.is_set():
            try:
                self._orphans += [Transfer(folder, self._stream) for folder in await asyncio.to_thread(self._adopt)]
            except (OSError, ValueError) as error:
                _log.warning("could not look for spools of dead routers: %s", error)
            await self._pause(self._adopt_interval_s)

    def _adopt(self) -> list[SpoolFolder]:
        """Take over what can be taken over; in a thread."""
        adopted = []
        for path in incarnation_folders(self._root):
            try:
                folder = adopt(path)
            except (OSError, ValueError) as error:  # tried again: the disk, or the files that may be open, may recover
                self._tell_unusable(path, error)
                continue
            if folder is None:
                continue
            try:
                is_done = is_folded(folder)
            except (OSError, ValueError) as error:
                folder.close()  # locked, nobody could take it over once the totals can be read again
                self._tell_unusable(self._root / TOTALS, error)
                continue
            if is_done:
                folder.delete()
            else:
                adopted.append(folder)
        return adopted

    def _tell_unusable(self, path: Path, error: Exception) -> None:
        if path not in self._unusable:  # once, though it is tried again and again
            _log.error("%s cannot be read: look at it, and delete it if it stays so", path, exc_info=error)
        self._unusable.add(path)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def _unexpected(error: Exception) -> bool:
    return not isinstance(error, StoreUnavailable)
