"""Many small models, of which few are used at a time: memory, and what the first request to a cold one waits.

`python -m loadtests.shared_hosts` registers small models, each with a policy of its own. A few of them run in processes
of their own, for the price of one; all others share processes. The hot ones are called steadily; then each cold one is
called once while the hot ones go on; then the process of the hot ones is killed under them; at last nobody is called,
until the processes have ended.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import click
import httpx
from rich.console import Console

from loadtests.changes.scene import scene
from loadtests.model import build_classifier, random_rows, v2_json
from loadtests.processes import memory_bytes
from loadtests.result_page import ProgressLog, describe_load, page, publish, table
from loadtests.server import Gateway
from loadtests.waiting import wait_until

_FEATURES: Final = 16
_MIB: Final = 1 << 20
#: How long a version without requests stays loaded, in this measurement.
_COLD_AFTER_S: Final = 30.0
#: Between two requests to cold models.
_COLD_EVERY_S: Final = 0.1
#: Of steady requests after the kill.
_AFTER_KILL_S: Final = 12.0
_BODY: Final = v2_json(random_rows(1, _FEATURES))
_OWN: Final = re.compile(r"ServeReplica:model\.")
_SHARED: Final = re.compile(r"ServeReplica:host\.")


class Call(NamedTuple):
    """One request as its client saw it."""

    latency_s: float
    status: int
    ended: float
    """Monotonic seconds."""


class Memory(NamedTuple):
    """What model processes take, in bytes (PSS)."""

    own: int
    shared: int


class Found(NamedTuple):
    """All that was measured."""

    own: int
    """Versions in processes of their own."""
    register_s: float
    """Seconds for one shared version: registered, tried in a child process, given a policy."""
    hot: Memory
    cold: Memory
    """While the cold ones were called."""
    idle: Memory
    hot_calls: Sequence[Call]
    """Until the kill."""
    killed_calls: Sequence[Call]
    """To the hot models, from the kill on."""
    cold_calls: Sequence[Call]
    """To models whose process was there for the hot ones."""
    asleep_calls: Sequence[Call]
    """To models whose process had ended: the first of them starts it, and all wait until it has."""
    first: Call
    """The first request of all."""


@click.command(context_settings={"show_default": True})
@click.option("--models", default=200, type=click.IntRange(min=2), help="Small models that share processes.")
@click.option("--hot", default=20, type=click.IntRange(min=1), help="Of them, called steadily.")
@click.option("--own", default=4, type=click.IntRange(min=1), help="Models in processes of their own.")
@click.option("--rate", default=100.0, help="Requests per second to all hot models together.")
@click.option("--seconds", default=15.0, help="Of steady requests before the cold ones are called.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(*, models: int, hot: int, own: int, rate: float, seconds: float, keep: bool) -> None:
    """Measure and print; exit with 1 when a request failed."""
    console = Console()
    load = describe_load()
    with scene(console, f"host-cold-after-s={_COLD_AFTER_S}") as (gateway, progress):
        own_names = [f"own-{number}" for number in range(own)]
        shared = [f"small-{number}" for number in range(models)]
        for number, name in enumerate(own_names):
            _add(gateway, name, "own", seed=number)
        began = time.monotonic()
        for number, name in enumerate(shared):
            progress.doing(f"model {number + 1} of {models}")
            _add(gateway, name, "shared", seed=number)
        register_s = (time.monotonic() - began) / models
        found = asyncio.run(_measure(gateway, progress, shared, hot, rate=rate, seconds=seconds))
        found = found._replace(own=own, register_s=register_s)
    publish(console, render(found, models, hot, load), "shared-hosts", is_kept=keep)
    sys.exit(1 if _failed([*found.hot_calls, *found.killed_calls, *_cold(found), found.first]) else 0)


def _add(gateway: Gateway, name: str, host: str, *, seed: int) -> None:
    """Register a model, and give it a policy."""
    with gateway.admin() as admin:
        onnx = build_classifier(features=_FEATURES, seed=seed)
        admin.register(name, onnx, example=_BODY, tags={"shepherd.host": host})
    gateway.route(name, ("stable", 1, 10_000))


async def _measure(
    gateway: Gateway, progress: ProgressLog, names: Sequence[str], hot: int, *, rate: float, seconds: float
) -> Found:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", timeout=60) as client:
        progress.doing("waiting until all are cold")
        await asyncio.to_thread(_wait_until_no_shared_process, gateway)
        first = await _call(client, names[0])
        progress.doing(f"{hot} models are called")
        steady = asyncio.create_task(_call_steadily(client, names[:hot], rate))
        await asyncio.sleep(seconds)
        with_hot = _memory(gateway)
        progress.doing(f"each of {len(names) - hot} cold models is called once")
        hosts = await asyncio.to_thread(_hosts, gateway)
        awake = hosts[names[0]]
        cold = await _call_once(client, [name for name in names[hot:] if hosts[name] == awake])
        asleep = await _call_once(client, [name for name in names[hot:] if hosts[name] != awake])
        with_cold = _memory(gateway)
        progress.doing("the process of the hot models is killed")
        killed_at = time.monotonic()
        os.kill(gateway.replicas(names[0], 1)[0], signal.SIGKILL)
        await asyncio.sleep(_AFTER_KILL_S)
        steady.cancel()
        calls = await steady
        progress.doing("waiting until all are cold again")
        await asyncio.to_thread(_wait_until_no_shared_process, gateway)
        idle = _memory(gateway)
    hot_calls = [call for call in calls if call.ended < killed_at]
    killed_calls = [call for call in calls if call.ended >= killed_at]
    return Found(0, 0.0, with_hot, with_cold, idle, hot_calls, killed_calls, cold, asleep, first)


def _wait_until_no_shared_process(gateway: Gateway) -> None:
    """Wait until several looks in a row find no shared process: one that has just begun may be missed by one look."""
    wait_until(
        lambda: not any(_memory(gateway).shared for _ in range(5)), timeout_s=240.0, what="the shared processes to end"
    )


async def _call_steadily(client: httpx.AsyncClient, names: Sequence[str], rate: float) -> list[Call]:
    """Call models in turn on a fixed schedule until cancelled; an answer that is late delays no other request."""
    calls: list[asyncio.Task[Call]] = []
    began = time.monotonic()
    try:
        while True:
            due = began + len(calls) / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.append(asyncio.create_task(_call(client, names[len(calls) % len(names)])))
    except asyncio.CancelledError:
        return list(await asyncio.gather(*calls))


async def _call_once(client: httpx.AsyncClient, names: Sequence[str]) -> list[Call]:
    """Call each model once, at a steady pace, whatever becomes of the call before."""
    calls = []
    for name in names:
        calls.append(asyncio.create_task(_call(client, name)))
        await asyncio.sleep(_COLD_EVERY_S)
    return list(await asyncio.gather(*calls))


def _hosts(gateway: Gateway) -> dict[str, int]:
    """Read which shared process each model lives in."""
    with gateway.admin() as admin:
        return {model["name"]: model["versions"][0]["host"] for model in admin.models()}


async def _call(client: httpx.AsyncClient, name: str) -> Call:
    began = time.monotonic()
    try:
        status = (await client.post(f"/v2/models/{name}/infer", content=_BODY)).status_code
    except httpx.HTTPError:
        status = 0
    ended = time.monotonic()
    return Call(ended - began, status, ended)


def _memory(gateway: Gateway) -> Memory:
    sizes = memory_bytes(gateway.pid)
    own, shared = (sum(size for name, size in sizes.items() if form.search(name)) for form in (_OWN, _SHARED))
    return Memory(own, shared)


def _cold(found: Found) -> list[Call]:
    return [*found.cold_calls, *found.asleep_calls]


def _failed(calls: Sequence[Call]) -> int:
    return sum(call.status != 200 for call in calls)


def render(found: Found, models: int, hot: int, load: str) -> str:
    """Write the page."""
    each_own = found.hot.own / found.own
    goal = "met" if not _failed(_cold(found)) else "missed"
    saving = each_own * models / max(found.hot.shared, 1)
    verdict = (
        f"**{goal}**: {_failed(_cold(found))} of {len(_cold(found))} requests to cold models failed (goal 0). "
        f"{models} models with {hot} hot take {found.hot.shared / _MIB:.0f} MiB; in processes of their own they would "
        f"take {each_own * models / _MIB:.0f} MiB, {saving:.0f} times as much (extrapolated)."
    )
    method = (
        f"{models} classifiers of a few kilobytes, each with its own policy and the tag `shepherd.host=shared`, beside "
        f"{found.own} with processes of their own. Memory is PSS, of the processes that serve models."
    )
    memory = table(
        ["memory", "MiB"],
        [
            [f"{found.own} models in processes of their own, measured", f"{found.hot.own / _MIB:.0f}"],
            ["one of them", f"{each_own / _MIB:.0f}"],
            [f"{models} such, extrapolated", f"{each_own * models / _MIB:.0f}"],
            [f"{models} shared, {hot} hot", f"{found.hot.shared / _MIB:.0f}"],
            [f"{models} shared, while the others are called once each", f"{found.cold.shared / _MIB:.0f}"],
            [f"{models} shared, nobody called for {_COLD_AFTER_S:g} s", f"{found.idle.shared / _MIB:.0f}"],
        ],
    )
    latency = table(
        ["latency, ms", "requests", "p50", "p90", "p99", "worst", "failed"],
        [
            _row("hot models", found.hot_calls),
            _row("first request to a cold model, its process there", found.cold_calls),
            _row("first request to a cold model, its process ended", found.asleep_calls),
            _row("hot models, from the kill of their process on", found.killed_calls),
            _row("first request of all", [found.first]),
        ],
    )
    price = (
        f"Registering a shared model and giving it a policy takes {found.register_s:.2f} s, of which most is the trial "
        "in a child process, once for each version and machine."
    )
    return page("Many small models share processes", verdict, method, memory, latency, price, load=load)


def _row(name: str, calls: Sequence[Call]) -> list[str]:
    times = sorted(1e3 * call.latency_s for call in calls)
    at = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    quantiles = (at[49], at[89], at[98], times[-1])
    return [name, str(len(calls)), *(f"{value:.1f}" for value in quantiles), str(_failed(calls))]


if __name__ == "__main__":
    main()
