"""Receivers of incidents: what they get, what happens when they are down, and which are never called."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from router.adapters.webhook import Webhooks
from router.monitor.incident import Incident, Transition
from router.monitor.retraining import RetrainFormat, retrain_payload
from router.performance.ladder import Act
from router.watch.delivery import Delivery, Receivers

pytestmark = pytest.mark.asyncio

EVIDENCE = {"stable": {"drift": {"x": 0.4}, "performance": {"watched": "auc", "drop": 0.08}}}
CRITICAL = Incident(id="flights/1/1", model="flights", version=1, severity="critical", opened_at=1e9, evidence=EVIDENCE)


def transition(act: Act) -> Transition:
    return Transition(act=act, at=1e9 + 60, incident=CRITICAL)


class Receiver:
    """An HTTP server that keeps what is posted; the first `failures` posts are answered with 503."""

    def __init__(self) -> None:
        self.failures = 0
        self.got: list[tuple[str, Mapping[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
                outer.got.append((self.path, dict(self.headers), body))
                outer.failures -= 1
                self.send_response(503 if outer.failures >= 0 else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Outgoing:
    """A delivery, and its dead letters."""

    def __init__(self, *, allowed: tuple[str, ...] = ("127.0.0.1",), **receivers: Any) -> None:
        self.dead: list[tuple[str, str]] = []
        self.delivery = Delivery(
            Webhooks(allowed, b"secret"),
            Receivers(source="http://gateway", **receivers),
            payload=self._payload,
            bury=self._bury,
            pauses_s=(0.0, 0.0),
        )

    async def _payload(self, told: Transition) -> Mapping[str, Any]:
        return retrain_payload(told, champion=1, lineage={"git_commit": "abc"}, window_s=3600.0)

    async def _bury(self, _told: Transition, to: str, why: str) -> None:
        self.dead.append((to, why))


async def test_an_event_is_a_cloud_event_and_an_alert_what_alertmanager_posts(receiver: Receiver) -> None:
    """With all required attributes, under one delivery id."""
    urls = {"events": (f"{receiver.url}/e",), "alerts": (f"{receiver.url}/a",)}
    await Outgoing(**urls).delivery.deliver(transition(Act.ESCALATE))
    got = {path: (headers, body) for path, headers, body in receiver.got}
    headers, event = got["/e"]

    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["X-Shepherd-Delivery"] == event["id"] == "flights/1/1/escalate-critical"
    assert (event["specversion"], event["type"]) == ("1.0", "io.modelshepherd.incident.escalate")
    assert event["time"] == "2001-09-09T01:47:40.000Z"
    assert event["data"]["incident"]["evidence"] == EVIDENCE
    (alert,) = got["/a"][1]["alerts"]
    assert (alert["status"], alert["labels"]["severity"]) == ("firing", "critical")
    assert "auc down 8.0%" in alert["annotations"]["summary"]


@pytest.mark.parametrize(
    ("words", "key", "place"),
    [("generic", "incident", "incident"), ("airflow", "dag_run_id", "conf"), ("prefect", "idempotency_key", "name")],
)
async def test_a_retraining_is_asked_for_in_the_words_of_its_receiver(
    receiver: Receiver, words: RetrainFormat, key: str, place: str
) -> None:
    """Named by the incident, so that a repetition trains nothing twice."""
    await Outgoing(retrain=f"{receiver.url}/r", retrain_format=words).delivery.deliver(transition(Act.RETRAIN))
    ((_, _, body),) = receiver.got

    assert "flights" in body[key]
    assert place in body
    assert "abc" in str(body)


async def test_a_receiver_that_fails_is_told_again(receiver: Receiver) -> None:
    """Under the same delivery id."""
    receiver.failures = 2
    outgoing = Outgoing(events=(receiver.url,))
    await outgoing.delivery.deliver(transition(Act.OPEN))

    assert len(receiver.got) == 3
    assert len({headers["X-Shepherd-Delivery"] for _, headers, _ in receiver.got}) == 1
    assert outgoing.dead == []


async def test_what_cannot_be_delivered_is_a_dead_letter(receiver: Receiver) -> None:
    """After the last try; a receiver beside it has been told all the same."""
    outgoing = Outgoing(events=("http://127.0.0.1:9/", receiver.url))
    await outgoing.delivery.deliver(transition(Act.OPEN))

    assert [to for to, _ in outgoing.dead] == ["http://127.0.0.1:9/"]
    assert len(receiver.got) == 1


async def test_a_host_that_is_not_listed_is_never_called(receiver: Receiver) -> None:
    """Neither by name nor by address: a dead letter at once."""
    outgoing = Outgoing(allowed=("hooks.example",), events=(receiver.url,))
    await outgoing.delivery.deliver(transition(Act.OPEN))

    assert receiver.got == []
    assert outgoing.dead == [(receiver.url, "127.0.0.1 is not in webhook_hosts")]
