"""The cache of a node: verified, bounded, and never short of what is in use."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.registry.artifact import VersionInfo
from serving.registry.cache import ArtifactCache
from serving.registry.digest import file_digests, tree_digest

KIB = 1024


Open = Callable[..., ArtifactCache]


@pytest.fixture
def open_cache(tmp_path: Path) -> Iterator[Open]:
    """Open the one folder as often as there are processes to play."""
    with contextlib.ExitStack() as stack:

        def open_one(**arguments: int) -> ArtifactCache:
            return stack.enter_context(contextlib.closing(ArtifactCache(tmp_path / "cache", **arguments)))

        yield open_one


def put(cache: ArtifactCache, model: str, content: bytes = b"", size: int = KIB) -> Path:
    with cache.staging_folder() as folder:
        (folder / "model.onnx").write_bytes((content or model.encode()).ljust(size, b"."))
        return cache.add(folder, VersionInfo(model, 1), {"run_id": model})


def is_kept(cache: ArtifactCache, model: str) -> bool:
    cached = cache.remembered(model, 1)
    assert cached
    folder = cache.open(cached)
    if folder:
        cache.release(folder)
    return folder is not None


def set_last_use(folder: Path, at: float) -> None:
    os.utime(folder, (at, at))


def test_what_was_added_is_found_by_a_later_process(open_cache: Open) -> None:
    """Files, what the registry said, and the lineage."""
    folder = put(open_cache(), "a")

    later = open_cache()
    cached = later.remembered("a", 1)

    assert cached
    assert later.open(cached) == folder
    assert cached.info == VersionInfo("a", 1)
    assert cached.lineage == {"run_id": "a"}


def test_what_was_never_added_is_not_remembered(open_cache: Open) -> None:
    """Neither is another version."""
    cache = open_cache()
    put(cache, "a")

    assert cache.remembered("b", 1) is None
    assert cache.remembered("a", 2) is None


def test_the_folder_is_named_after_the_digest_of_its_files(open_cache: Open) -> None:
    """Equal versions share their files."""
    cache = open_cache()

    first, second = put(cache, "a", b"same"), put(cache, "b", b"same")

    assert first == second
    assert first.name == tree_digest(file_digests(first))


def test_damaged_files_are_not_given_out(open_cache: Open) -> None:
    """They are removed, so that the next fetch brings them whole; also when a twin is added over them."""
    cache = open_cache()
    path = put(cache, "a") / "model.onnx"
    path.chmod(0o600)
    path.write_bytes(b"rot")
    assert not is_kept(cache, "a")

    put(cache, "a")
    path.chmod(0o600)
    path.write_bytes(b"rot")
    put(cache, "a")

    assert is_kept(cache, "a")


def test_a_download_that_fails_leaves_nothing(open_cache: Open) -> None:
    """Staged files that were not added vanish."""
    cache = open_cache()
    with cache.staging_folder() as folder:
        (folder / "model.onnx").write_bytes(b"half")

    assert not folder.exists()


def test_downloads_of_dead_processes_are_cleared_at_the_next_start_and_running_ones_are_not(
    open_cache: Open, tmp_path: Path
) -> None:
    """A process that was killed could not clean up."""
    running = open_cache()
    abandoned = tmp_path / "cache" / "staging" / "abandoned"
    abandoned.mkdir()
    set_last_use(abandoned, 0)

    with running.staging_folder() as folder:
        open_cache()
        assert folder.exists()

    assert not abandoned.exists()


def test_the_least_recently_used_is_evicted_first(open_cache: Open) -> None:
    """As many as needed to hold the bound, and no more."""
    cache = open_cache(max_bytes=2 * KIB)
    for age, model in ((3, "oldest"), (2, "older")):
        folder = put(cache, model)
        set_last_use(folder, 1_000_000 - age)
        cache.release(folder)

    put(cache, "new")

    assert [is_kept(cache, model) for model in ("oldest", "older", "new")] == [False, True, True]


def test_what_is_in_use_is_never_evicted(open_cache: Open) -> None:
    """Rather the bound is exceeded; each use counts, until each is released."""
    cache = open_cache(max_bytes=KIB)
    folder = put(cache, "used")
    cached = cache.remembered("used", 1)
    assert cached
    cache.open(cached)
    cache.release(folder)

    cache.release(put(cache, "other"))
    assert is_kept(cache, "used")

    cache.release(folder)
    set_last_use(folder, 0)
    put(cache, "another")
    assert not is_kept(cache, "used")


def test_what_another_process_uses_is_not_evicted_until_it_is_gone(open_cache: Open, tmp_path: Path) -> None:
    """Even one that is killed lets go: the kernel holds the locks."""
    cache = open_cache(max_bytes=KIB)
    folder = put(cache, "theirs")
    cache.release(folder)
    program = (
        "import sys, pathlib; from serving.registry.cache import ArtifactCache;"
        "cache = ArtifactCache(pathlib.Path(sys.argv[1])); cached = cache.remembered('theirs', 1);"
        "print(cache.open(cached), flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "cache")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline().strip() == str(folder)
        set_last_use(folder, 0)
        put(cache, "ours")
        assert folder.is_dir()
        other.kill()

    set_last_use(folder, 0)
    put(cache, "ours-too")
    assert not folder.exists()


def test_the_cache_is_the_owners_alone(open_cache: Open, tmp_path: Path) -> None:
    """Models and examples may be confidential, and who can write them decides what runs."""
    folder = put(open_cache(), "a")

    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (folder / "model.onnx").stat().st_mode & 0o777 == 0o400
