"""Keeps a router's keys as the store has them: followed while it is there, on disk for when it is not."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from router.adapters.files.key_snapshot import read_key_snapshot, write_key_snapshot
from router.gateway.authorization import Authorizer
from router.ports import KeyStore, StoreUnavailable

_log = logging.getLogger(__name__)


class KeyFollower:
    """Feeds an authorizer; where no keys are asked for, it does nothing."""

    def __init__(self, authorizer: Authorizer, store: KeyStore, file: Path) -> None:
        self._authorizer = authorizer
        self._store = store
        self._file = file

    @property
    def epoch(self) -> int:
        """Epoch of the keys in force, -1 while there are none."""
        return self._authorizer.epoch

    async def load(self) -> None:
        """Read the keys, from the store or else from disk; with neither, the authorizer lets nobody in."""
        if not self._authorizer.required:
            return
        try:
            self._authorizer.apply(await self._store.snapshot())
        except StoreUnavailable as error:
            found = await asyncio.to_thread(read_key_snapshot, self._file)
            if found.snapshot is None:
                _log.warning("No keys yet, nobody is let in: %s; and %s", error, found.reason)
            else:
                _log.warning("%s; checking against those on disk", error)
                self._authorizer.apply(found.snapshot)

    async def run(self) -> None:
        """Follow the store until cancelled."""
        if not self._authorizer.required:
            return
        async for snapshot in self._store.watch():
            self._authorizer.apply(snapshot)
            try:
                await asyncio.to_thread(write_key_snapshot, self._file, snapshot)
            except OSError as error:
                _log.warning("Cannot keep the keys on disk: %s", error)
