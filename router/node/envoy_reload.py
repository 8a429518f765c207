"""Has the gRPC door replaced when an operator asks for it, and tells command lines of it."""

from __future__ import annotations

import logging
import threading

import msgspec

from router.layout import Layout
from router.node.directory import NodeRecord, write_record
from router.node.envoy import EnvoyDoor
from serving.telemetry.failure_log import FailureLog

_log = logging.getLogger(__name__)


class Renewal:
    """What `shepherd reload` asks of a node, and what it waits for: another process in the node's record."""

    def __init__(self, layout: Layout, record: NodeRecord, asked: threading.Event) -> None:
        self._layout = layout
        self._record = record
        self._asked = asked
        self._recording = FailureLog(_log, "Recording which process is the gRPC door")

    def tend(self, door: EnvoyDoor) -> None:
        """Tend the door, begin its replacement if that was asked for, and record which process serves."""
        if self._asked.is_set():
            self._asked.clear()
            door.replace()
        door.tend()
        if door.pid is not None and door.pid != self._record.door_pid:
            record = msgspec.structs.replace(self._record, door_pid=door.pid)
            with self._recording.guard(OSError):
                write_record(self._layout, record)
                self._record = record
