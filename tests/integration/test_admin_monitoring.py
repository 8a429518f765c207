"""Drift, performance and incidents over the admin API, and the hold on rollbacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.admin.operations import Role
from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.incident import Incident
from router.monitor.labels import Label, Pairing
from tests.admin import AdminWorld
from tests.rollouts import at
from tests.rollouts import started as rollout_of_flights
from tests.watched import MODEL, SETTINGS, Log, arrived, profile, rows, truth

pytestmark = pytest.mark.asyncio


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    """An admin API over a book of one version whose first feature has moved and whose labels contradict it."""
    made = AdminWorld(tmp_path)
    document = encode_profile(profile())
    book = Book(SETTINGS, lambda _model, _version: document)
    x = rows(2, 600, shift=1.0)
    kept = book.enter(arrived(Log().records(x)))
    labels = truth(x, wrong=0.4).tolist()
    book.learn(
        MODEL,
        [
            Pairing(each.prediction, Label(MODEL, each.request_id, (value,), each.prediction.at + 60))
            for each, value in zip(kept, labels, strict=True)
        ],
    )
    book.judge(1e12)
    made.watch.known = book
    made.watch.told = [Incident(id="flights/1/1", model=MODEL, version=1, severity="warning", opened_at=1e9)]
    return made


async def test_drift_names_the_columns_that_moved(world: AdminWorld) -> None:
    """With effect, significance and evidence for each, and what they are held against."""
    async with world.client(Role.VIEWER) as client:
        found = (await client.get(f"/admin/v1/drift/{MODEL}")).json()
    (version,) = found["versions"]
    (arm,) = version["arms"]

    assert version["reference"] == {"kind": "profile", "rows": 5000, "refused": ""}
    assert (arm["arm"], arm["answers"], arm["windows"]) == ("stable", 600, 3)
    assert "x[0]" in arm["alarmed"]
    assert "x[1]" not in arm["alarmed"]
    assert {column["name"] for column in arm["columns"]} >= {"x[0]", "x[1]", "x[2]", "score"}


async def test_performance_is_shown_with_its_baseline_and_the_labels_behind_it(world: AdminWorld) -> None:
    """Beside what became of all labels."""
    async with world.client(Role.VIEWER) as client:
        found = (await client.get(f"/admin/v1/performance/{MODEL}")).json()
    ((arm,),) = [version["arms"] for version in found["versions"]]

    assert found["labels"] == {"joined": 600, "duplicate": 0, "unknown": 0, "invalid": 0, "unsampled": 0}
    assert (arm["severity"], arm["watched"], arm["labelled"], arm["labelled_share"]) == (
        "emergency",
        "accuracy",
        600,
        1.0,
    )
    assert arm["drop"] > 0.15
    assert arm["metrics"]["accuracy"]["value"] < arm["baseline"]["low"]
    assert arm["mean_label_lag_s"] == pytest.approx(60.0)


async def test_a_model_that_was_never_seen_is_404(world: AdminWorld) -> None:
    """For drift and performance alike."""
    async with world.client(Role.VIEWER) as client:
        statuses = [(await client.get(f"/admin/v1/{what}/nobody")).status_code for what in ("drift", "performance")]

    assert statuses == [404, 404]


async def test_an_incident_names_the_rollouts_of_versions_trained_for_it(world: AdminWorld) -> None:
    """And the rollout names the incident."""
    started = at(rollout_of_flights(), incident="flights/1/1")
    await world.rollouts.put(started)
    async with world.client() as client:
        (incident,) = (await client.get("/admin/v1/incidents")).json()["incidents"]
        rollout = (await client.get(f"/admin/v1/rollouts/{MODEL}")).json()
    assert [(each["id"], each["version"], each["phase"]) for each in incident["rollouts"]] == [("r1", 4, "pending")]
    assert rollout["incident"] == "flights/1/1"


async def test_incidents_are_listed_for_all_models_or_one(world: AdminWorld) -> None:
    """As they stand."""
    async with world.client(Role.VIEWER) as client:
        everything = (await client.get("/admin/v1/incidents")).json()["incidents"]
        others = (await client.get("/admin/v1/incidents", params={"model": "other"})).json()["incidents"]

    assert [each["id"] for each in everything] == ["flights/1/1"]
    assert everything[0]["resolved_at"] is None
    assert others == []


async def test_holding_rollbacks_takes_an_operator_and_a_reason_and_is_audited(world: AdminWorld) -> None:
    """And is lifted the same way."""
    path, body = f"/admin/v1/performance/{MODEL}/hold", {"held": True, "reason": "labels of today are wrong"}
    async with world.client(Role.VIEWER) as client:
        assert (await client.post(path, json=body)).status_code == 403
    async with world.client(Role.OPERATOR) as client:
        assert (await client.post(path, json={"held": "yes", "reason": "r"})).status_code == 400
        assert (await client.post(path, json=body)).json()["rollbacks_held"] == "labels of today are wrong"
        shown = (await client.get(f"/admin/v1/performance/{MODEL}")).json()
        lifted = (await client.post(path, json={"held": False, "reason": "mended"})).json()
    entries = await world.store.audit()

    assert shown["rollbacks_held"] == "labels of today are wrong"
    assert lifted["rollbacks_held"] is None
    assert [entry.action for entry in entries] == ["monitor.hold", "monitor.release"]
