"""The images install from the lock files, leave nothing behind and do not run as root."""

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
#: By Dockerfile: its lock file, and the onnxruntime in that. All have one import name: one of them, and no other.
IMAGES = {"Dockerfile": ("cpu", "onnxruntime"), "Dockerfile.gpu": ("gpu", "onnxruntime-gpu")}
each_image = pytest.mark.parametrize("image", IMAGES)


def of(image: str, instruction: str) -> list[str]:
    """List what follows an instruction, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / image).read_text(encoding="utf-8"))
    return [line.removeprefix(f"{instruction} ") for line in text.splitlines() if line.startswith(f"{instruction} ")]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@each_image
def test_the_linter_finds_nothing(image: str) -> None:
    """hadolint, with its shellcheck, on every line; exceptions are in the file, each for one rule."""
    found = run(HADOLINT, "--no-color", ROOT / image)

    assert (found.returncode, found.stdout) == (0, "")


@each_image
def test_the_base_has_a_version(image: str) -> None:
    """Two builds of one commit begin alike (hadolint DL3006, DL3007)."""
    for base in of(image, "FROM"):
        assert re.fullmatch(r"\S+:[\w.-]*\d[\w.-]*", base), base
        assert not base.endswith(":latest")


@each_image
def test_packages_come_from_lock_files_by_hash(image: str) -> None:
    """Only our own package, which needs no other, is installed without (DL3013)."""
    installs = [command for line in of(image, "RUN") for command in line.split("&&") if "pip install" in command]

    assert installs
    assert all("--require-hashes -r requirements/" in each or "--no-deps" in each for each in installs), installs
    assert all("--no-cache-dir" in each for each in installs), "DL3042"


@each_image
def test_lists_of_packages_are_not_kept(image: str) -> None:
    """Nor are packages that nobody asked for (DL3009, DL3015)."""
    for line in of(image, "RUN"):
        if "apt-get install" in line:
            assert "--no-install-recommends" in line
            assert "rm -rf /var/lib/apt/lists/*" in line


@each_image
def test_everything_that_is_copied_is_there(image: str) -> None:
    """A file that was moved would break the build on a machine that we do not have."""
    for line in of(image, "COPY"):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source


@each_image
def test_the_gateway_does_not_run_as_root_and_ends_on_a_signal(image: str) -> None:
    """The command is in exec form, so that signals reach it (DL3002, DL3025)."""
    assert of(image, "USER")[-1] not in {"root", "0"}
    assert all(line.startswith("[") for line in (*of(image, "ENTRYPOINT"), *of(image, "CMD")))


@each_image
def test_the_command_line_is_found_by_whoever_enters(image: str) -> None:
    """`kubectl exec ... shepherd status` has no shell that would look further."""
    (environment,) = of(image, "ENV")
    (entry,) = of(image, "ENTRYPOINT")
    found = re.search(r"PATH=([^:]+):\$PATH", environment)

    assert found is not None
    assert f'"{found[1]}/shepherd"' in entry


@each_image
def test_the_lock_file_is_that_of_the_image_and_has_its_runtime_only(image: str) -> None:
    """The one for GPUs and the one without would overwrite each other."""
    name, runtime = IMAGES[image]
    lock = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")

    assert re.findall(r"^(onnxruntime[\w-]*)==", lock, re.MULTILINE) == [runtime]
    assert any(f"-r requirements/{name}.txt" in line for line in of(image, "RUN"))


def test_the_images_differ_in_nothing_else() -> None:
    """Whoever changes one changes both."""
    cpu, gpu = ([line for line in (ROOT / name).read_text().splitlines() if line[:1] != "#"] for name in IMAGES)

    assert [line.replace("gpu.txt", "cpu.txt") for line in gpu if not line.startswith("FROM")] == [
        line for line in cpu if not line.startswith("FROM")
    ]


@pytest.mark.slow
@each_image
def test_every_locked_package_can_be_installed_by_its_hash(image: str, tmp_path: Path) -> None:
    """The Python and platform of the image, wheels only: as far as a machine without a GPU can install it."""
    name, runtime = IMAGES[image]
    ubuntu = re.search(r"ubuntu:?(\d+)", of(image, "FROM")[0])
    assert ubuntu is not None
    target = ("--python-version", PYTHON_OF_UBUNTU[ubuntu[1]], "--python-platform", "x86_64-manylinux_2_39")
    uv = run(ROOT / "requirements" / "bootstrap-uv").stdout.strip()
    locks = [part for each in (name, "build") for part in ("-r", ROOT / "requirements" / f"{each}.txt")]
    how = ("--dry-run", "--require-hashes", "--only-binary", ":all:", "--target", tmp_path)

    done = run(uv, "pip", "install", *how, *target, *locks)

    if "client error (Connect)" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    assert runtime in done.stderr
