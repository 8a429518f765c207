"""The Ray cluster under the gateway: one of our own on this machine, or one that is joined.

A local cluster is started piece by piece through Ray's `Node` instead of `ray.init()`, which always brings a dashboard,
an autoscaler and a log monitor: three Python processes, 300 MB and seconds of start-up that nothing here uses. Every
process of it dies with ours, by the kernel's parent-death signal, so a killed gateway leaves none behind.
"""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from router.layout import Layout
from router.node import ray_logs
from router.node.bounded_calls import within
from router.node.orphan_reaper import end_sessions, start_reaper

_NAMESPACE: Final = "serve"
#: Shared memory for Ray objects. Tensors never travel through it, so Serve's own messages are all there is.
_OBJECT_STORE_BYTES: Final = 100 * 1024 * 1024
_DISCONNECT_TIMEOUT_S: Final = 3.0
_PRUNE_PERIOD_S: Final = 60.0

#: Read by each process as it starts, so they are set before Ray is imported here, and inherited.
_VARIABLES: Final = {
    # Replicas run our code and Serve's router on their one event loop: no thread hop, no locks.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # Ray's default of 15 lets any other process of the machine starve the replicas.
    "RAY_worker_niceness": "0",
    # When a neighbour fills the memory, Ray's monitor would kill routers and replicas first, and all of them at once.
    # The kernel picks the largest process instead; replicas are admitted by what they were measured to take.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_oom_score_adjustment": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_preload_python_modules": "serving.deployment.preload",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    # Makes Ray take 127.0.0.1 for this machine's address, so that its ports are open to this machine only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    # onnxruntime would write a device id into the home directory and report to its makers.
    "ORT_DISABLE_TELEMETRY": "1",
    **ray_logs.ROTATION,
}


class LocalCluster:
    """Ray processes of our own. To be started from a thread that lives as long as they should."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._node: Any = None
        self._sessions: list[int] = []
        self._reaper: subprocess.Popen[bytes] | None = None
        self._logs: Path | None = None
        self._prune_at = 0.0

    def start(self) -> None:
        """Start the cluster and connect to it."""
        token_file = self._layout.ray_token_file
        token_file.touch(mode=0o600)
        token_file.write_text(secrets.token_hex(32), encoding="ascii")
        os.environ.update(_VARIABLES, RAY_AUTH_TOKEN_PATH=str(token_file))  # noqa: TID251 - Ray reads nothing else
        import ray
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        from serving.deployment import preload  # noqa: F401 - before anything of Ray Serve

        class SlimNode(Node):  # type: ignore[misc]
            """A head node without the dashboard process, whose logs outlive its session."""

            def _init_temp(self, node_to_connect_info: Any) -> None:
                session = Path(self._ray_params.temp_dir, self._session_name)
                session.mkdir(mode=0o700)
                (session / "logs").symlink_to(logs)
                super()._init_temp(node_to_connect_info)

            def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
                del include_dashboard, raise_on_failure
                self._webui_url = ""

        logging.getLogger("ray").setLevel(logging.WARNING)
        self._layout.ray_dir.mkdir(mode=0o700)
        self._logs = logs = ray_logs.begin(self._layout.logs_dir)
        parameters = RayParams(
            node_ip_address="127.0.0.1",
            num_cpus=os.cpu_count(),
            object_store_memory=_OBJECT_STORE_BYTES,
            temp_dir=str(self._layout.ray_dir),
            include_log_monitor=False,
            no_monitor=True,
        )
        with _own_session(), _without_dashboard():
            self._node = SlimNode(
                parameters, head=True, shutdown_at_exit=False, spawn_reaper=True, ray_init_cluster=True
            )
        self._sessions = [process.pid for _, process in self._node.live_processes()]
        self._reaper = start_reaper(self._sessions, self._layout.logs_dir / "reaper.log")
        ray.init(address=self._node.gcs_address, namespace=_NAMESPACE, log_to_driver=False, configure_logging=False)

    def tend(self) -> None:
        """Bound its logs, now and then."""
        if self._logs is not None and time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + _PRUNE_PERIOD_S
            ray_logs.prune(self._logs)

    @property
    def running(self) -> bool:
        """All of its own processes are alive."""
        return self._node is not None and not self._node.dead_processes()

    def stop(self) -> None:
        """Disconnect and end all processes, also when they do not answer any more."""
        import ray

        within(_DISCONNECT_TIMEOUT_S, ray.shutdown)
        if self._node is not None:
            self._node.kill_all_processes(check_alive=False, allow_graceful=True)
            end_sessions(self._sessions)
            if self._reaper is not None:
                self._reaper.communicate()


@contextmanager
def _own_session() -> Iterator[None]:
    """Start Ray's processes apart from ours.

    A signal to our process group, by Ctrl-C or by a supervisor, then reaches us alone, and Ray is still there to drain.
    """
    from ray._private import services

    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextmanager
def _without_dashboard() -> Iterator[None]:
    """Have Ray start as it does where the dashboard's dependencies are missing.

    Its agents then open no HTTP port, which would accept jobs, and which two clusters on one machine would fight over.
    """
    from ray._private import utils

    find_error = utils.get_dashboard_dependency_error
    utils.get_dashboard_dependency_error = lambda: ImportError("the dashboard is not wanted")
    try:
        yield
    finally:
        utils.get_dashboard_dependency_error = find_error


class JoinedCluster:
    """Somebody else's cluster, which stays when we leave."""

    def __init__(self, address: str) -> None:
        self._address = address

    def start(self) -> None:
        """Connect.

        Raises:
            ConnectionError: no cluster there.
        """
        serve_variables = {name: value for name, value in _VARIABLES.items() if name.startswith("RAY_SERVE_")}
        os.environ.update(serve_variables)  # noqa: TID251 - Ray reads nothing else
        import ray

        # The cluster's own processes have their own environment; ours is given to the workers of this job.
        ray.init(
            address=self._address,
            namespace=_NAMESPACE,
            log_to_driver=False,
            runtime_env={"env_vars": serve_variables},
        )

    def tend(self) -> None:
        """Leave it to its owner."""

    @property
    def running(self) -> bool:
        """Not for us to say."""
        return True

    def stop(self) -> None:
        """Disconnect."""
        import ray

        ray.shutdown()
