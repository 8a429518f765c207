"""`shepherd doctor` sees what is wrong and says how to mend it."""

from __future__ import annotations

import os
import re
import socket
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from router.cli import door_check, machine_checks, place_checks
from router.cli.findings import Finding
from router.settings import Settings
from tests.admin import write_node


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """Answer one connection with `reply`; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(reply)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(timeout=5)


def free_port() -> int:
    """Find a port that nobody holds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_every_check_of_this_machine_gives_a_finding() -> None:
    """What is not ok comes with advice."""
    findings = [
        machine_checks.check_python(),
        machine_checks.check_packages(),
        machine_checks.check_onnxruntime(),
        machine_checks.check_gpu(),
        machine_checks.check_valkey(),
        machine_checks.check_shared_memory(),
        machine_checks.check_open_files(),
    ]
    assert all((finding.verdict == "ok") != bool(finding.mend) for finding in findings)
    assert [finding.verdict for finding in findings[:3]] == ["ok", "ok", "ok"]


@pytest.mark.parametrize("minor", range(8, 17))
def test_a_python_is_ok_exactly_if_the_package_can_be_installed_with_it(minor: int) -> None:
    """`requires-python` says which; the advice names them."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    finding = machine_checks.check_python((3, minor, 1))
    assert (finding.verdict == "ok") == SpecifierSet(project["requires-python"]).contains(f"3.{minor}.1")
    assert finding.verdict == "ok" or finding.mend == "install Python 3.11, 3.12 or 3.13"


def test_a_port_in_use_is_broken_unless_our_own_gateway_holds_it(tmp_path: Path) -> None:
    """A second gateway on the same ports would fail; `doctor` beside a running one must not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = Settings(state_dir=tmp_path, http_port=port)
        (finding, *_) = place_checks.check_ports(settings)
        assert (finding.verdict, "--http-port" in finding.mend) == ("broken", True)
        write_node(tmp_path, os.getpid(), http=f"http://127.0.0.1:{port}", admin="http://127.0.0.1:1")
        (finding, *_) = place_checks.check_ports(settings)
        assert finding.verdict == "ok"
        assert str(os.getpid()) in finding.seen


def test_a_free_port_is_ok(tmp_path: Path) -> None:
    """And stays free: the check lets go of it."""
    settings = Settings(state_dir=tmp_path, http_port=free_port())
    assert place_checks.check_ports(settings)[0].verdict == "ok"
    assert place_checks.check_ports(settings)[0].verdict == "ok"


def test_a_state_directory_need_not_exist_yet(tmp_path: Path) -> None:
    """`up` makes it; what counts is whether it can."""
    assert place_checks.check_state_dir(Settings(state_dir=tmp_path / "a" / "b")).verdict == "ok"
    (tmp_path / "file").touch()
    assert place_checks.check_state_dir(Settings(state_dir=tmp_path / "file" / "b")).verdict == "broken"


def test_a_token_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    """With the command that closes it."""
    (tmp_path / "admin.token").touch(0o644)
    (tmp_path / "admin.token").chmod(0o644)
    finding = place_checks.check_state_dir(Settings(state_dir=tmp_path))
    assert (finding.verdict, finding.mend) == ("warning", f"chmod go= {tmp_path / 'admin.token'}")


def check_redis(tmp_path: Path, url: str | None) -> Finding:
    return place_checks.check_redis(Settings(state_dir=tmp_path, redis_url=url))


def test_a_real_redis_is_recognised(tmp_path: Path, valkey_socket: Path) -> None:
    """Over its socket."""
    assert check_redis(tmp_path, f"unix://{valkey_socket}").verdict == "ok"


@pytest.mark.parametrize(
    ("reply", "verdict"), [(b"-NOAUTH needed\r\n", "ok"), (b"HTTP/1.1 400\r\n", "broken"), (b"", "broken")]
)
def test_what_answers_must_speak_redis(tmp_path: Path, reply: bytes, verdict: str) -> None:
    """One that wants a password first does; a web server does not."""
    with answering(reply) as port:
        assert check_redis(tmp_path, f"redis://:secret@127.0.0.1:{port}/0").verdict == verdict


def test_a_redis_that_is_away_is_broken_and_no_secret_is_shown(tmp_path: Path) -> None:
    """The address is, so that it can be corrected."""
    port = free_port()
    finding = check_redis(tmp_path, f"redis://:secret@127.0.0.1:{port}/0")
    assert (finding.verdict, str(port) in finding.seen, "secret" in str(finding)) == ("broken", True, False)


def test_a_registry_that_is_away_is_broken(tmp_path: Path) -> None:
    """An http one that refuses, and a file in no directory."""
    for uri in (f"http://ada:secret@127.0.0.1:{free_port()}", f"sqlite:///{tmp_path}/none/mlflow.db"):
        finding = place_checks.check_registry(Settings(state_dir=tmp_path, registry_uri=uri))
        assert (finding.verdict, "--registry" in finding.mend, "secret" in str(finding)) == ("broken", True, False)


def test_a_registry_that_answers_is_ok(tmp_path: Path) -> None:
    """MLflow's own health path, and a file whose directory is there."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK") as port:
        settings = Settings(state_dir=tmp_path, registry_uri=f"http://127.0.0.1:{port}")
        assert place_checks.check_registry(settings).verdict == "ok"
    settings = Settings(state_dir=tmp_path, registry_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert place_checks.check_registry(settings).verdict == "ok"


def test_the_embedded_parts_need_nothing(tmp_path: Path) -> None:
    """No setting, no check to fail."""
    settings = Settings(state_dir=tmp_path)
    assert (place_checks.check_redis(settings).seen, place_checks.check_registry(settings).seen) == (
        "embedded",
        "embedded",
    )


def test_the_grpc_doors_envoy_is_tried_with_the_settings(tmp_path: Path) -> None:
    """Not only found: it must start and accept what `up` would give it."""
    finding = door_check.check_envoy(Settings(state_dir=tmp_path))

    assert finding.verdict == "ok"
    assert re.fullmatch(r"Envoy \d+\.\d+\.\d+ accepts its configuration", finding.seen)


def test_an_envoy_that_would_not_start_is_broken(tmp_path: Path) -> None:
    """With what it says of the reason."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("no certificate")

    finding = door_check.check_envoy(Settings(state_dir=tmp_path, tls_certificate=certificate, tls_key=certificate))

    assert finding.verdict == "broken"
    assert "certificate" in finding.seen.lower()


def test_a_node_without_an_envoy_has_nothing_to_try(tmp_path: Path) -> None:
    """By the settings."""
    assert "grpc.aio" in door_check.check_envoy(Settings(state_dir=tmp_path, grpc_door="aio")).seen
