"""Receivers of incidents: what they get, what happens when they are slow or down, and which are never called."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from router.adapters.webhook import Webhooks
from router.monitor.incident import Incident, Transition
from router.monitor.retraining import RetrainFormat, retrain_payload
from router.performance.escalation import Act
from router.performance.severity import Severity
from router.requestlog.span import Span
from router.watch.authorization import Authorization
from router.watch.delivery import Delivery
from router.watch.receivers import Receiver as Told
from router.watch.receivers import Words
from tests.receivers import Receiver, receiving

pytestmark = pytest.mark.asyncio

EVIDENCE = {"stable": {"drift": {"x": 0.4}, "performance": {"watched": "auc", "drop": 0.08}}}
CRITICAL = Incident(id="flights/1/1", model="flights", version=1, severity="critical", opened_at=1e9, evidence=EVIDENCE)


def transition(act: Act = Act.OPEN, at: float = 1e9 + 60) -> Transition:
    return Transition(act=act, at=at, incident=CRITICAL)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class Outgoing:
    """The way to one receiver, and the dead letters."""

    def __init__(
        self,
        url: str,
        words: Words = "event",
        *,
        at: Severity = Severity.WARNING,
        allowed: tuple[str, ...] = ("127.0.0.1",),
        **more: Any,
    ) -> None:
        self.dead: list[tuple[str, str]] = []
        settings: dict[str, Any] = {"pauses_s": (0.0, 0.0), **more}
        self.delivery = Delivery(
            Webhooks(allowed, b"secret"),
            Told(url=url, words=words, at=at),
            source="http://gateway",
            payload=self._payload,
            bury=self._bury,
            **settings,
        )

    async def tell(self, told: Transition) -> None:
        await self.delivery.deliver(told)

    async def _payload(self, told: Transition) -> Mapping[str, Any]:
        span = Span(first_at=1e9 - 60, last_at=1e9, first_record="r#1", last_record="r#9", records=9, labels=4)
        return retrain_payload(told, champion=1, lineage={"git_commit": "abc"}, span=span)

    async def _bury(self, _told: Transition, to: str, why: str) -> None:
        self.dead.append((to, why))


async def test_a_cloud_event_names_its_transition(receiver: Receiver) -> None:
    """In structured mode, under one delivery id."""
    await Outgoing(receiver.url).tell(transition(Act.ESCALATE))
    ((_, headers, event),) = receiver.posts

    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["X-Shepherd-Delivery"] == event["id"] == "flights/1/1/escalate-critical"
    assert event["type"] == "io.modelshepherd.incident.escalate"
    assert event["data"]["incident"]["evidence"] == EVIDENCE
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("words", "key", "place"),
    [
        ("generic", "incident", "incident"),
        ("airflow", "dag_run_id", "conf"),
        ("airflow2", "dag_run_id", "conf"),
        ("prefect", "idempotency_key", "name"),
    ],
)
async def test_a_retraining_is_asked_for_in_the_words_of_its_receiver(
    receiver: Receiver, words: RetrainFormat, key: str, place: str
) -> None:
    """Named by the incident, so that a repetition trains nothing twice."""
    await Outgoing(receiver.url, "retrain", retrain_format=words).tell(transition(Act.RETRAIN))
    ((_, _, body),) = receiver.posts

    assert "flights" in body[key]
    assert place in body
    assert "abc" in str(body)
    assert "shepherd log export" in str(body)


async def test_airflow_that_knows_the_run_already_need_not_be_asked_again(receiver: Receiver) -> None:
    """409 is what a repetition after a crash gets: the training is on its way."""
    receiver.statuses = [409, 409]
    airflow = Outgoing(receiver.url, "retrain", retrain_format="airflow")
    await airflow.tell(transition(Act.RETRAIN))
    generic = Outgoing(receiver.url, "retrain")
    await generic.tell(transition(Act.RETRAIN))

    assert len(receiver.posts) == 3
    assert airflow.dead == generic.dead == []


async def test_only_the_receiver_of_retrainings_is_shown_the_secret(receiver: Receiver, tmp_path: Path) -> None:
    """Read for each call, so that a secret that was exchanged holds at once."""
    secret = tmp_path / "secret"
    for value in ("Bearer one\n", "Bearer two\n"):
        secret.write_text(value)
        for words, act in (("retrain", Act.RETRAIN), ("event", Act.OPEN)):
            outgoing = Outgoing(receiver.url, words, authorization=Authorization(file=secret))  # type: ignore[arg-type]
            await outgoing.tell(transition(act))

    shown = [post.headers.get("Authorization") for post in receiver.posts]
    assert shown == ["Bearer one", None, "Bearer two", None]


@pytest.mark.parametrize("content", [None, b"", b"Bearer \xe4\n", b"a\nX-Evil: 1"])
async def test_without_a_usable_secret_nobody_is_called(
    receiver: Receiver, tmp_path: Path, content: bytes | None
) -> None:
    """The dead letter names the file and holds nothing of what is in it."""
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    outgoing = Outgoing(receiver.url, "retrain", authorization=Authorization(file=secret))
    await outgoing.tell(transition(Act.RETRAIN))

    assert receiver.posts == []
    ((_, why),) = outgoing.dead
    assert str(secret) in why
    assert "Evil" not in why


async def test_a_receiver_that_fails_is_told_again(receiver: Receiver) -> None:
    """Under the same delivery id."""
    receiver.statuses = [503, 500]
    outgoing = Outgoing(receiver.url)
    await outgoing.tell(transition())

    assert len(receiver.posts) == 3
    assert len(set(receiver.deliveries)) == 1
    assert outgoing.dead == []


async def test_each_try_is_signed_with_the_time_at_which_it_is_sent(receiver: Receiver) -> None:
    """However long ago the incident was: a receiver that refuses old signatures, against replays, would refuse it."""
    receiver.statuses = [503]
    moments = iter((2e9 + 0.5, 2e9 + 7.5))
    await Outgoing(receiver.url, clock=lambda: next(moments)).tell(transition(at=1e9))

    assert [post.headers["X-Shepherd-Timestamp"] for post in receiver.posts] == ["2000000000", "2000000007"]
    assert len(set(receiver.deliveries)) == 1


async def test_a_receiver_that_does_not_answer_is_given_up(receiver: Receiver) -> None:
    """Each try has its time, and there are only so many."""
    answer = threading.Event()

    def take_too_long(_: object) -> None:
        answer.wait(30)

    receiver.before_answer = take_too_long
    outgoing = Outgoing(receiver.url, timeout_s=0.05)
    await outgoing.tell(transition())
    answer.set()

    assert [to for to, _ in outgoing.dead] == [receiver.url]


async def test_what_cannot_be_delivered_is_a_dead_letter() -> None:
    """After the last try, with the reason."""
    outgoing = Outgoing("http://127.0.0.1:9/")
    await outgoing.tell(transition())

    assert [to for to, _ in outgoing.dead] == ["http://127.0.0.1:9/"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_never_followed(receiver: Receiver, status: int) -> None:
    """Least of all to an address inside: whoever answers would choose whom the gateway calls."""
    with receiving() as inside:
        receiver.statuses, receiver.location = [status] * 3, f"{inside.url}/latest/meta-data"
        outgoing = Outgoing(receiver.url)
        await outgoing.tell(transition())

    assert inside.posts == []
    assert outgoing.dead == [(receiver.url, f"the answer was {status}")]


async def test_a_host_that_is_not_listed_is_never_called(receiver: Receiver) -> None:
    """Neither by name nor by address: a dead letter at once."""
    outgoing = Outgoing(receiver.url, allowed=("hooks.example",))
    await outgoing.tell(transition())

    assert receiver.posts == []
    assert outgoing.dead == [(receiver.url, "127.0.0.1 is not in webhook_hosts")]


async def test_a_receiver_is_told_of_no_less_than_it_asked_for(receiver: Receiver) -> None:
    """By the worst that the incident has been: so who was told that it opened is told that it is over."""
    pager, archive = Outgoing(receiver.url, at=Severity.EMERGENCY), Outgoing(receiver.url, at=Severity.CRITICAL)
    for act in (Act.ESCALATE, Act.RESOLVE):
        await pager.tell(transition(act))
        await archive.tell(transition(act))

    assert receiver.deliveries == ["flights/1/1/escalate-critical", "flights/1/1/resolve-critical"]
