"""What each replica sees of the servers that its version lives on reaches control, and none hides another's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from serving.backends.backend import RemoteBackend
from serving.deployment.remote_report import RemoteReport, read_troubles
from serving.deployment.spec import VersionSpec
from serving.telemetry.instruments import Registry

SERVER, OTHER = "10.0.0.1:8001", "10.0.0.2:8001"


class Watched:
    """A remote backend, as far as it is reported of."""

    def __init__(self, troubles: Mapping[str, str | None]) -> None:
        self.now = troubles

    def troubles(self) -> Mapping[str, str | None]:
        return self.now


def report(run_dir: Path, replica_id: str, troubles: Mapping[str, str | None]) -> tuple[Watched, RemoteReport]:
    watched = Watched(troubles)
    spec = VersionSpec(
        model="m",
        version=1,
        state_dir=run_dir,
        registry_uri=None,
        run_dir=run_dir,
        metrics_dir=run_dir,
        logs_dir=run_dir,
        cache_max_bytes=0,
    )
    made = RemoteReport(cast("RemoteBackend", watched), Registry("test"), spec, replica_id)
    made()
    return watched, made


def test_a_replica_that_is_well_does_not_hide_what_another_one_sees(tmp_path: Path) -> None:
    """Whichever of them reports last."""
    report(tmp_path, "a", {SERVER: "no route", OTHER: None})
    report(tmp_path, "b", {SERVER: None, OTHER: None})
    report(tmp_path, "c", {SERVER: None, OTHER: "refused"})

    assert read_troubles(tmp_path, ["a", "b", "c"]) == {SERVER: "no route", OTHER: "refused"}
    assert read_troubles(tmp_path, ["b"]) == {}


def test_what_is_over_is_not_told_any_more(tmp_path: Path) -> None:
    """When the server answers again, when the replica stops, and when control sees it no longer."""
    watched, made = report(tmp_path, "a", {SERVER: "no route"})
    assert read_troubles(tmp_path, ["another"]) == {}

    watched.now = {SERVER: None}
    made()
    assert read_troubles(tmp_path, ["a"]) == {}

    watched.now = {SERVER: "no route"}
    made()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """A folder that was away keeps nothing back once it is there."""
    _, made = report(tmp_path / "run", "a", {SERVER: "no route"})
    (tmp_path / "run").mkdir()

    made()

    assert read_troubles(tmp_path / "run", ["a"]) == {SERVER: "no route"}
