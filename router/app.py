"""The composition root: one gateway node in the foreground, from nothing to ready and back to nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
from redis.exceptions import RedisError

from router.adapters.redis.policy_store import RedisPolicyStore
from router.admin.auth import TokenStore
from router.control.specs import sharing_rules, spec_maker
from router.layout import Layout
from router.node.bounded_calls import within
from router.node.child_logs import ChildLogs
from router.node.cluster import JoinedCluster, LocalCluster
from router.node.directory import NodeRecord, StateDirTaken, has_let_go, read_holder, taken, write_record
from router.node.envoy import EnvoyDoor, grpc_door
from router.node.envoy_process import EnvoyFailed
from router.node.envoy_reload import Renewal
from router.node.external_redis import REDIS_ADVICE, ClaimRefused, ExternalRedis
from router.node.ports import PortTaken, require_free_ports
from router.node.registry import registry_trouble
from router.node.signals import Interrupted, handling_signals, interrupt
from router.node.terminal import Terminal
from router.node.valkey import EmbeddedValkey, ValkeyFailed
from router.policy.document import versions_of
from router.ports import StoreUnavailable
from router.settings import Settings
from serving.deployment.hosting.candidates import Candidates
from serving.deployment.hosting.validation_cache import ValidationCache
from serving.deployment.spec import CHANNEL_TOKEN_FILE, VersionSpec, parse_app_name, parse_host_name
from serving.protocol.errors import ServingError
from serving.registry.cache import ArtifactCache
from serving.telemetry.failure_log import FailureLog

_START_TIMEOUT_S: Final = 90.0
#: How long a gateway may take to end that is not ready yet, and one that is beyond the end of its applications.
_STOP_TIMEOUT_S: Final = 20.0
_REST_TIMEOUT_S: Final = 3.0
#: Until Ray Serve heeds a deletion, and tells of its end.
_NOTICE_S: Final = 1.0
_SUPERVISE_S: Final = 0.25
_log = logging.getLogger(__name__)


class StartFailed(Exception):
    """The gateway cannot start; says why and what to do."""


_Store = EmbeddedValkey | ExternalRedis
#: Failures whose text tells an operator all there is to know.
_EXPECTED: Final = (StartFailed, StateDirTaken, PortTaken, ClaimRefused, ValkeyFailed, EnvoyFailed, OSError)


def run(settings: Settings) -> int:
    """Run a gateway until SIGINT or SIGTERM; return the exit status: 0 when asked to end, 1 when it could not run."""
    terminal = Terminal()
    with handling_signals() as renewal:
        try:
            with taken(settings.state_dir) as layout, terminal.reserved(layout.logs_dir / "node.log"):
                require_free_ports(settings)
                with _explaining_surprises(layout):
                    _serve(settings, layout, terminal, renewal)
        except Interrupted:
            terminal.output.print("Stopped.")
            return 0
        except _EXPECTED as error:
            terminal.report(str(error))
    return 1


def stop(state_dir: Path) -> int:
    """Stop the gateway of a state directory and wait for its end; return the exit status."""
    terminal = Terminal()
    pid = read_holder(state_dir)
    if pid is None:
        terminal.output.print(f"No gateway runs on {state_dir}.")
        return 0
    os.kill(pid, signal.SIGTERM)
    if not has_let_go(state_dir, pid, unready_s=_STOP_TIMEOUT_S):
        terminal.errors.print(f"The gateway with pid {pid} has not stopped; its log is {state_dir}/logs/node.log.")
        return 1
    terminal.output.print("Stopped.")
    return 0


def _serve(settings: Settings, layout: Layout, terminal: Terminal, renewal: threading.Event) -> NoReturn:
    """Start everything, wait, and stop everything on the way out."""
    started = time.monotonic()
    TokenStore(layout.state_dir).ensure_admin()
    token_file = layout.run_dir / CHANNEL_TOKEN_FILE
    token_file.touch(mode=0o600)
    token_file.write_bytes(secrets.token_hex(32).encode())
    with ExitStack() as stack, terminal.output.status("Starting the gateway") as progress:
        store = _store(settings, layout)
        settings = msgspec.structs.replace(settings, redis_url=store.url)
        stack.callback(store.stop)
        store.launch()
        cluster = LocalCluster(layout) if settings.ray_address is None else JoinedCluster(settings.ray_address)
        stack.callback(cluster.stop)
        cluster.start()
        signal.signal(signal.SIGTERM, interrupt)  # Ray takes it, and would exit without ending its processes in order
        store.wait_ready()
        specs = _versions_to_restore(settings, layout)
        door = grpc_door(settings, layout)
        settings = msgspec.structs.replace(settings, grpc_door="envoy" if door else "aio")
        progress.update(f"Starting {settings.routers} router(s) and {len(specs)} version(s)")
        own: set[str] = set()
        if door is not None:
            stack.callback(door.stop)  # last: what the routers refuse when their drain ends, clients hear through it
        stack.callback(_delete_applications, settings, own)
        if door is not None:
            stack.callback(door.drain)
            door.launch()
        _deploy_applications(settings, layout, specs, own)
        if door is not None:
            door.wait_ready()
        record = _record(settings, door)
        write_record(layout, record)
        progress.stop()
        _announce(settings, layout, terminal, len(specs), time.monotonic() - started)
        if trouble := registry_trouble(settings.registry_uri):
            terminal.warn(trouble)
        _supervise(store, door, cluster, Renewal(layout, record, renewal), ChildLogs(layout.logs_dir))


def _store(settings: Settings, layout: Layout) -> _Store:
    if settings.redis_url is None:
        return EmbeddedValkey(layout)
    return ExternalRedis(settings.redis_url, layout.state_dir)


def _versions_to_restore(settings: Settings, layout: Layout) -> list[VersionSpec]:
    """Specify the versions with processes of their own that the stored policies name and whose files are here.

    The control process would start them too, but seconds later; it also starts those that have to be fetched first.
    """
    assert settings.redis_url is not None, "chosen by now"

    async def read_policies() -> list[tuple[str, int]]:
        store = RedisPolicyStore(str(settings.redis_url))
        try:
            policies = (await store.snapshot()).policies
        finally:
            await store.close()
        return [(model, version) for model, stored in policies.items() for version in versions_of(stored.policy)]

    try:
        named = asyncio.run(read_policies())
    except (StoreUnavailable, RedisError) as error:
        raise StartFailed(f"{error}. {REDIS_ADVICE}") from None
    cache, make_spec = ArtifactCache(layout.cache_dir), spec_maker(settings, layout)
    candidates = Candidates(cache, ValidationCache(layout.proofs_dir), sharing_rules(settings))
    specs = []
    for key in named:
        cached = cache.remembered(*key)
        try:
            spec = make_spec(cached.info) if cached else None
            specs += [spec] if spec and candidates.why_own(spec) else []
        except ServingError:  # left to the control process, which says what is wrong with the version
            continue
    return specs


def _deploy_applications(settings: Settings, layout: Layout, specs: list[VersionSpec], own: set[str]) -> None:
    """Hand everything to Ray Serve at once, and wait until routers and control process are there.

    The names of those that are always there are put into `own` first.
    """
    from ray import serve

    from router.control.deployment import APP as CONTROL
    from router.control.deployment import control_target
    from router.gateway.deployment import APP as GATEWAY
    from router.gateway.deployment import gateway_target
    from router.sink.deployment import sink_target
    from router.watch.deployment import monitor_targets
    from serving.deployment.failures import read_reason
    from serving.deployment.lifecycle import run as deploy
    from serving.deployment.lifecycle import version_target

    serve.start(proxy_location="Disabled")
    beside = monitor_targets(settings, layout) if settings.monitor_enabled else []
    beside += [sink_target(settings, layout)] if settings.log_parquet_folder else []
    core = [gateway_target(settings, layout), control_target(settings, layout)]
    own |= {target.name for target in (*core, *beside)}
    deploy([*core, *beside, *map(version_target, specs)])
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        apps = serve.status().applications
        awaited: dict[str, Any] = {name: apps[name] for name in (GATEWAY, CONTROL)}
        for name, app in awaited.items():
            if app.status == "DEPLOY_FAILED":
                reasons = "; ".join(read_reason(each.message) for each in app.deployments.values())
                raise StartFailed(f"the {name} does not start: {reasons}. Logs: {layout.logs_dir}")
        if all(app.status == "RUNNING" for app in awaited.values()):
            return
        time.sleep(0.05)
    raise StartFailed(f"the gateway is not ready after {_START_TIMEOUT_S:g} s. Logs: {layout.logs_dir}")


def _delete_applications(settings: Settings, own: set[str]) -> None:
    """Let the routers answer what they have accepted, then end the rest: of a cluster that was joined, only ours."""
    from ray import serve

    from router.gateway.deployment import APP as GATEWAY
    from router.gateway.deployment import stopping_s

    def delete(names: set[str]) -> None:
        for name in names:
            serve.delete(name, _blocking=False)
        while names & serve.status().applications.keys():
            time.sleep(0.05)

    def delete_rest() -> None:
        found = serve.status().applications
        delete({name for name in found if name in own or parse_app_name(name) or parse_host_name(name)})

    # Longer than a router takes: one that is killed at the end of its drain refuses and records nothing.
    if within(stopping_s(settings) + _NOTICE_S, lambda: delete({GATEWAY})):
        within(_REST_TIMEOUT_S, delete_rest)


def _supervise(
    store: _Store, door: EnvoyDoor | None, cluster: LocalCluster | JoinedCluster, renewal: Renewal, logs: ChildLogs
) -> NoReturn:
    """Wait for the end; meanwhile bring back what dies: the gRPC door, and Valkey, without which traffic goes on.

    A disk that is full or away ends nothing: what needs it is tried again.
    """
    tidying = FailureLog(_log, "Bounding the logs")
    while True:
        time.sleep(_SUPERVISE_S)
        if door is not None:
            renewal.tend(door)
        store.tend()
        with tidying.guard(OSError):
            cluster.tend()
            logs.tend()
        if not cluster.running:
            raise StartFailed("Ray has died under the gateway; start it again")


def _record(settings: Settings, door: EnvoyDoor | None = None) -> NodeRecord:
    from router.gateway.deployment import stopping_s

    return NodeRecord(
        pid=os.getpid(),
        http=f"http://{settings.host}:{settings.http_port}",
        grpc=f"{settings.host}:{settings.grpc_port}",
        metrics=f"http://{settings.host}:{settings.metrics_port}/metrics",
        admin=f"http://{settings.admin_host}:{settings.admin_port}",
        started_at=time.time(),
        door_pid=door.pid if door is not None else None,
        stop_s=stopping_s(settings) + _NOTICE_S + _REST_TIMEOUT_S + _STOP_TIMEOUT_S,
    )


def _announce(settings: Settings, layout: Layout, terminal: Terminal, restored: int, seconds: float) -> None:
    record = _record(settings)
    models = f", {restored} version(s) from before" if restored else ""
    terminal.output.print(
        f"[bold green]Model Shepherd is ready[/bold green] after {seconds:.1f} s{models}\n"
        f"  HTTP     {record.http}/v2\n"
        f"  gRPC     {record.grpc}\n"
        f"  admin    {record.admin}  (token in {layout.state_dir / 'admin.token'})\n"
        f"  metrics  {record.metrics}\n"
        f"  logs     {layout.logs_dir}\n"
        "Ctrl-C stops it."
    )


@contextmanager
def _explaining_surprises(layout: Layout) -> Iterator[None]:
    """Keep the trace of a failure that nobody foresaw in the log, and say where it is."""
    try:
        yield
    except _EXPECTED:
        raise
    except Exception as error:
        _log.exception("The gateway cannot run")
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise StartFailed(f"{type(error).__name__}: {reason} (more in {layout.logs_dir / 'node.log'})") from error
