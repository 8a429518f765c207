"""Which versions the control process lets into shared hosts, and what it does when one takes its host down."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.deployment.hosting.host_files import GuestReport
from serving.deployment.hosting.sharing import SharingRules
from serving.deployment.status import AppPhase
from serving.protocol.errors import ServingError
from tests.data_plane import MODEL
from tests.fleets import READY, SHARED, Bench
from tests.full_disk import full_disk
from tests.hosts import version_spec

pytestmark = pytest.mark.asyncio


async def test_a_version_that_may_share_is_tried_and_let_into_a_host(tmp_path: Path) -> None:
    """It counts as ready although it is cold, with its signature from the trial; another one has its own process."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    await bench.deploy(2, {})

    await bench.fleet.statuses()
    statuses = await bench.fleet.statuses()

    assert bench.processes.apps.versions.keys() == {(MODEL, 2)}
    assert bench.processes.apps.hosts.keys() == {1}
    guest = statuses[MODEL, 1].guest
    assert guest is not None
    assert (statuses[MODEL, 1].phase, guest.loaded) == (AppPhase.READY, False)
    assert [spec.name for spec in guest.signature.inputs] == ["x"]


async def test_versions_of_one_model_live_in_different_hosts(tmp_path: Path) -> None:
    """And a host ends with its last guest."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    await bench.deploy(2, SHARED)
    await bench.fleet.statuses()
    assert bench.processes.apps.hosts.keys() == {1, 2}

    await bench.fleet.delete([(MODEL, 1)])
    await bench.fleet.statuses()
    assert bench.processes.apps.hosts.keys() == {2}
    assert bench.files.hosts() == [2]


async def test_a_version_that_was_at_work_when_its_host_died_gets_a_process_of_its_own(tmp_path: Path) -> None:
    """It leaves the host, and is never let into one again; also by a successor."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    await bench.fleet.statuses()
    bench.report(1, GuestReport("loaded"), suspects=[1])

    assert (MODEL, 1) not in await bench.fleet.statuses()
    assert bench.files.read_guests(1) == []

    successor = Bench(tmp_path)
    await successor.fleet.deploy([version_spec(tmp_path, MODEL, 1, SHARED)])
    assert successor.processes.apps.versions.keys() == {(MODEL, 1)}
    assert successor.files.hosts() == []
    assert "when shared host 1 died" in (await successor.fleet.statuses())[MODEL, 1].note


async def test_a_version_that_fails_its_trial_is_refused_with_the_reason(tmp_path: Path) -> None:
    """No host ever hears of it."""
    bench = Bench(tmp_path)
    with pytest.raises(ServingError, match="latency check failed"):
        await bench.deploy(1, SHARED | {"shepherd.latency_budget_ms": "0.000001"})
    assert bench.files.hosts() == []


async def test_a_version_whose_tags_ask_for_more_is_tried_again(tmp_path: Path) -> None:
    """What was proven was proven under the tags of then."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    strict = SHARED | {"shepherd.latency_budget_ms": "0.000001"}
    with pytest.raises(ServingError, match="latency check failed"):
        await bench.fleet.deploy([version_spec(tmp_path, MODEL, 1, strict)])


async def test_what_a_host_says_of_a_guest_is_shown(tmp_path: Path) -> None:
    """Loaded or cold are both ready; a load that failed is not."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    await bench.fleet.statuses()

    bench.report(1, GuestReport("loaded", load_s=0.5, facts={"provider": "cpu"}))
    loaded = (await bench.fleet.statuses())[MODEL, 1].guest
    assert loaded is not None
    assert (loaded.loaded, loaded.load_s, loaded.facts) == (True, 0.5, {"provider": "cpu"})
    assert bench.fleet.show() == {"1": "1 of 1 versions loaded, pid 4242"}

    bench.report(1, GuestReport("failed", "no memory"))
    failed = (await bench.fleet.statuses())[MODEL, 1]
    assert (failed.phase, failed.reason, failed.final) == (AppPhase.FAILED, "no memory", False)


async def test_a_version_that_must_not_be_cold_is_ready_once_it_is_loaded(tmp_path: Path) -> None:
    """Until then it is said to load; one that may be cold is ready meanwhile."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    await bench.fleet.statuses()
    for state in ("cold", "loading"):
        bench.report(1, GuestReport(state))
        bench.fleet.keep(frozenset())
        assert (await bench.fleet.statuses())[MODEL, 1].phase is AppPhase.READY
        bench.fleet.keep(frozenset({(MODEL, 1)}))
        assert (await bench.fleet.statuses())[MODEL, 1].phase is AppPhase.LOADING
    bench.report(1, GuestReport("loaded"))
    assert (await bench.fleet.statuses())[MODEL, 1].phase is AppPhase.READY


async def test_a_list_that_cannot_be_written_is_written_later_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until its host can know of it, a version is not ready; the trouble is told once."""
    bench = Bench(tmp_path)
    obstacle = tmp_path / "host-1.guests.json"
    obstacle.mkdir()
    await bench.deploy(1, SHARED)
    bench.fleet.keep(frozenset({(MODEL, 1)}))
    bench.fleet.ask_for(MODEL, 1)
    await bench.fleet.statuses()
    waiting = (await bench.fleet.statuses())[MODEL, 1]
    assert (waiting.phase, "IsADirectoryError" in waiting.reason) == (AppPhase.LOADING, True)
    assert caplog.text.count("Writing the lists of guests failed") == 1

    obstacle.rmdir()
    bench.fleet.keep(frozenset())
    assert (await bench.fleet.statuses())[MODEL, 1].phase is AppPhase.READY
    (guest,) = bench.files.read_guests(1)
    assert (guest.kept, guest.asked_at > 0) == (False, True)


async def test_a_version_that_cannot_be_moved_out_now_is_not_ready_and_moved_later(tmp_path: Path) -> None:
    """Its host refuses it; whoever shares the gateway goes on."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    await bench.deploy(2, SHARED)
    await bench.fleet.statuses()
    bench.report(1, GuestReport("cold"), suspects=[1])
    with full_disk():
        statuses = await bench.fleet.statuses()
    assert [statuses[MODEL, version].phase for version in (1, 2)] == [AppPhase.LOADING, AppPhase.READY]

    assert (await bench.fleet.statuses()).keys() == {(MODEL, 2)}


async def test_a_successor_takes_over_who_lives_where_and_tries_nobody_again(tmp_path: Path) -> None:
    """Guests stay, kept ones included."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    bench.fleet.keep(frozenset({(MODEL, 1)}))
    assert [guest.kept for guest in bench.files.read_guests(1)] == [True]

    successor = Bench(tmp_path)
    successor.processes.apps.hosts[1] = READY
    assert (MODEL, 1) in await successor.fleet.statuses()
    assert successor.guests.hosts == {1}


async def test_a_gateway_may_let_all_small_versions_share(tmp_path: Path) -> None:
    """Unless they are too large for it."""
    bench = Bench(tmp_path, SharingRules(default="auto", auto_max_bytes=1 << 20))
    await bench.deploy(1, {})
    assert bench.guests.keys == {(MODEL, 1)}

    strict = Bench(tmp_path, SharingRules(default="auto", auto_max_bytes=10))
    await strict.deploy(2, {})
    assert strict.processes.apps.versions.keys() == {(MODEL, 2)}


async def test_whoever_asks_for_a_version_has_its_host_woken_and_told(tmp_path: Path) -> None:
    """Also when the version is let in only after that; one that nobody asks for stays cold."""
    bench = Bench(tmp_path)
    bench.fleet.ask_for(MODEL, 1)
    await bench.deploy(1, SHARED)
    await bench.deploy(2, SHARED)
    assert [bench.files.read_guests(host)[0].asked_at > 0 for host in (1, 2)] == [True, False]

    watch = bench.fleet.watch(MODEL, 2, lambda _: None)
    bench.fleet.ask_for(MODEL, 2)
    assert bench.processes.sleeper.woken == 1
    assert bench.files.read_guests(2)[0].asked_at > 0
    await watch.close()


async def test_a_version_that_must_not_be_cold_keeps_its_host_awake(tmp_path: Path) -> None:
    """Each look wakes a host that has no process."""
    bench = Bench(tmp_path)
    await bench.deploy(1, SHARED)
    watch = bench.fleet.watch(MODEL, 1, lambda _: None)
    await bench.fleet.statuses()
    assert bench.processes.sleeper.woken == 0
    bench.fleet.keep(frozenset({(MODEL, 1)}))
    await bench.fleet.statuses()
    assert bench.processes.sleeper.woken == 1
    await watch.close()
