"""Numbered places for routers: each has fixed socket paths, at which the gRPC door looks for its router."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import msgspec

from router.adapters.files.lock import try_lock
from router.layout import Layout, slot_count


class NoFreeSlot(Exception):
    """More routers run than this node has places for."""


class Slot(msgspec.Struct, frozen=True):
    """A place that this process holds until it releases it or ends, however it ends."""

    number: int
    infer_socket: Path
    """Where to take `ModelInfer`."""
    grpc_socket: Path
    """Where the grpc.aio server is to listen."""
    descriptor: int

    @classmethod
    def take(cls, layout: Layout, routers: int) -> Self:
        """Take the lowest free place of a node with so many routers; remove the sockets that the last holder left.

        Raises:
            NoFreeSlot: none is free.
        """
        for number in range(slot_count(routers)):
            descriptor = try_lock(layout.slot_lock(number))
            if descriptor is None:
                continue
            slot = cls(number, layout.infer_socket(number), layout.grpc_socket(number), descriptor)
            slot.clear()
            return slot
        raise NoFreeSlot(f"{slot_count(routers)} routers run already, for a setting of {routers}")

    def clear(self) -> None:
        """Remove the sockets, so that connecting fails at once."""
        for path in (self.infer_socket, self.grpc_socket):
            path.unlink(missing_ok=True)

    def release(self) -> None:
        """Leave the place to others."""
        self.clear()
        os.close(self.descriptor)
