"""Files that were replaced are noticed once, when they have settled."""

from __future__ import annotations

from pathlib import Path

from router.adapters.files.watch import FileWatch


def test_a_change_counts_when_two_looks_see_the_same(tmp_path: Path) -> None:
    """Once: certificate and key are not written in the same instant."""
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    certificate.write_text("a")
    key.write_text("a")
    watch = FileWatch([certificate, key], look_s=0)
    assert not watch.has_changed()

    certificate.write_text("renewed")
    assert not watch.has_changed()
    key.write_text("renewed")
    assert not watch.has_changed()

    assert [watch.has_changed() for _ in range(3)] == [True, False, False]


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As secrets of Kubernetes are renewed; a file that is missing for a while is none yet."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "certificate"
    link.symlink_to("old")
    watch = FileWatch([link], look_s=0)

    link.unlink()
    assert not any(watch.has_changed() for _ in range(3))
    link.symlink_to("new")

    assert [watch.has_changed() for _ in range(3)] == [False, True, False]


def test_it_looks_no_more_often_than_it_is_told(tmp_path: Path) -> None:
    """Asked many times a second, it looks at the disk every now and then; without files, never."""
    file = tmp_path / "certificate"
    file.write_text("a")
    watch = FileWatch([file], look_s=3600)
    file.write_text("renewed")

    assert not any(watch.has_changed() for _ in range(3))
    assert not FileWatch([], look_s=0).has_changed()
