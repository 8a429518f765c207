"""What control and a shared host tell each other survives both."""

from __future__ import annotations

from pathlib import Path

import msgspec

from serving.deployment.hosting.host_files import Guest, GuestReport, HostFiles, HostReport
from serving.protocol.messages import Signature, TensorSpec
from tests.hosts import version_spec

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),), "onnxruntime_onnx")


def guest(folder: Path, model: str) -> Guest:
    spec = version_spec(folder, model, 1, {"shepherd.host": "shared"})
    return Guest(msgspec.structs.replace(spec, allowed_folders=(folder,)), 1000, SIGNATURE, kept=True, asked_at=1.5)


def test_a_hosts_guests_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Paths and signatures included; each list has a stamp of its own."""
    files = HostFiles(tmp_path)
    files.write_guests(2, [guest(tmp_path, "a"), guest(tmp_path, "b")])
    assert HostFiles(tmp_path).read_guests(2) == [guest(tmp_path, "a"), guest(tmp_path, "b")]
    assert files.hosts() == [2]
    assert files.stamp(2) != 0


def test_a_host_without_guests_leaves_no_files(tmp_path: Path) -> None:
    """Neither list nor report."""
    files = HostFiles(tmp_path)
    files.write_guests(1, [guest(tmp_path, "a")])
    files.write_report(1, HostReport(7, {"a/1": GuestReport("cold")}, ("a/1",)))
    assert files.read_report(1).suspects == ("a/1",)
    files.write_guests(1, [])
    assert (files.hosts(), files.stamp(1), files.read_report(1)) == ([], 0, HostReport())
    assert list(tmp_path.iterdir()) == []
