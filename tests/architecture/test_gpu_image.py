"""The image for GPU machines installs from the lock files, leaves nothing behind and does not run as root."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON_OF_UBUNTU = {"24": "3.12"}
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
TEXT = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
#: Instructions with their continued lines joined.
LINES = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line.strip() and not line.startswith("#")]


def of(instruction: str) -> list[str]:
    return [line.removeprefix(f"{instruction} ") for line in LINES if line.startswith(f"{instruction} ")]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing() -> None:
    """hadolint, with its shellcheck, on every line; exceptions are in the file, each for one rule."""
    found = run(HADOLINT, "--no-color", ROOT / "Dockerfile.gpu")

    assert (found.returncode, found.stdout) == (0, "")


def test_the_base_has_a_version() -> None:
    """Two builds of one commit begin alike (hadolint DL3006, DL3007)."""
    for image in of("FROM"):
        assert re.fullmatch(r"\S+:[\w.-]*\d[\w.-]*", image), image
        assert not image.endswith(":latest")


def test_packages_come_from_lock_files_by_hash() -> None:
    """Only our own package, which needs no other, is installed without (DL3013)."""
    installs = [command for line in of("RUN") for command in line.split("&&") if "pip install" in command]

    assert installs
    assert all("--require-hashes -r requirements/" in each or "--no-deps" in each for each in installs), installs
    assert all("--no-cache-dir" in each for each in installs), "DL3042"


def test_lists_of_packages_are_not_kept() -> None:
    """Nor are packages that nobody asked for (DL3009, DL3015)."""
    for line in of("RUN"):
        if "apt-get install" in line:
            assert "--no-install-recommends" in line
            assert "rm -rf /var/lib/apt/lists/*" in line


def test_everything_that_is_copied_is_there() -> None:
    """A file that was moved would break the build on a machine that we do not have."""
    for line in of("COPY"):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source


def test_the_gateway_does_not_run_as_root_and_ends_on_a_signal() -> None:
    """The command is in exec form, so that signals reach it (DL3002, DL3025)."""
    assert of("USER")[-1] not in {"root", "0"}
    assert all(line.startswith("[") for line in (*of("ENTRYPOINT"), *of("CMD")))


def test_the_runtime_in_the_lock_file_is_the_one_for_gpus() -> None:
    """Both have one import name: one of them, and not the other."""
    lock = (ROOT / "requirements" / "gpu.txt").read_text(encoding="utf-8")

    assert re.search(r"^onnxruntime-gpu==", lock, re.MULTILINE)
    assert not re.search(r"^onnxruntime==", lock, re.MULTILINE)


@pytest.mark.slow
def test_every_locked_package_can_be_installed_by_its_hash(tmp_path: Path) -> None:
    """The Python and platform of the image, wheels only: as far as a machine without a GPU can install it."""
    ubuntu = re.search(r"ubuntu(\d+)", of("FROM")[0])
    assert ubuntu is not None
    image = ("--python-version", PYTHON_OF_UBUNTU[ubuntu[1]], "--python-platform", "x86_64-manylinux_2_39")
    uv = run(ROOT / "requirements" / "bootstrap-uv").stdout.strip()
    locks = [part for name in ("gpu", "build") for part in ("-r", ROOT / "requirements" / f"{name}.txt")]
    how = ("--dry-run", "--require-hashes", "--only-binary", ":all:", "--target", tmp_path)

    done = run(uv, "pip", "install", *how, *image, *locks)

    if "client error (Connect)" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime-gpu" in done.stderr
