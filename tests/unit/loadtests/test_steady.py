"""Steady load as measurements of changes use it: what counts as late, as lost, as reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from loadtests.changes.weights import Change, reached_ms
from loadtests.steady import Answer, SteadyLoad, latency
from tests.admin import serving
from tests.ports import free_ports

Message = MutableMapping[str, Any]


def test_latency_counts_only_what_was_due_in_the_time() -> None:
    """Failures too; quantiles are those of all answers, good or bad."""
    answers = [Answer(float(due), 0.001 * due, 200 if due != 4 else 503) for due in range(10)]

    seen = latency(answers, since=2.0, until=7.0)

    assert (seen.requests, seen.failed, seen.p50_ms, seen.worst_ms) == (5, 1, 4.0, 6.0)


def test_a_change_has_reached_all_routers_with_the_last_request_that_still_went_the_old_way() -> None:
    """The slower router counts; answers from before the change, and of nobody, do not."""
    moved = [Change("canary", 10.0, 10.01), Change("stable", 20.0, 20.01)]
    answers = [
        Answer(9.9, 0.001, 200, "stable", "r1"),
        Answer(10.02, 0.001, 200, "stable", "r1"),
        Answer(10.03, 0.001, 200, "canary", "r1"),
        Answer(10.05, 0.001, 200, "stable", "r2"),
        Answer(10.06, 0.001, 0),
        Answer(10.07, 0.001, 200, "canary", "r2"),
        Answer(20.01, 0.001, 200, "stable", "r1"),
    ]

    assert reached_ms(moved, answers) == pytest.approx([50.0, 0.0])


ENOUGH = 20


class App:
    """Answers at once, but for the second request, which waits until there were enough of them."""

    def __init__(self) -> None:
        self.asked = 0
        self.enough = asyncio.Event()

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        assert scope["type"] == "http"
        self.asked += 1
        number = self.asked
        while (await receive()).get("more_body"):
            pass
        if number == 2:
            await self.enough.wait()
        if number == ENOUGH:
            self.enough.set()
        headers = [
            (b"content-length", b"2"),
            (b"x-shepherd-variant", b"stable"),
            (b"x-shepherd-request-id", b"a-router-1f"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def wait_until_asked(app: App, times: int) -> None:
    deadline = time.monotonic() + 20
    while app.asked < times:
        assert time.monotonic() < deadline, f"{app.asked} requests came"
        time.sleep(0.01)


def test_an_answer_that_is_late_delays_no_other_request() -> None:
    """Its latency counts from when it was due; who answered, and through whom, is noted."""
    app = App()
    with serving(app) as url, SteadyLoad(int(url.rpartition(":")[2]), "/", b"{}", rate=100, connections=1) as load:
        wait_until_asked(app, ENOUGH)

    assert len(load.answers) >= ENOUGH
    assert {answer[2:] for answer in load.answers} == {(200, "stable", "a-router")}
    late = max(load.answers, key=lambda answer: answer.latency_s)
    assert late.due + late.latency_s > load.answers[ENOUGH - 2].due


def test_a_request_that_nobody_takes_is_a_failure() -> None:
    """Status 0: there was no answer."""
    (port,) = free_ports(1)
    with SteadyLoad(port, "/", b"{}", rate=200, connections=0) as load:
        pass

    assert load.answers
    assert {answer.status for answer in load.answers} == {0}
