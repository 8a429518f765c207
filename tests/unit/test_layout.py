"""Where things lie."""

from __future__ import annotations

from pathlib import Path

from router.layout import MAX_SOCKET_PATH_BYTES, Layout, fits

LONGEST = "ray/session_2026-11-23_05-29-58_382123_4194304/sockets/plasma_store"


def test_sockets_of_a_run_directory_that_fits_have_paths_that_the_kernel_takes() -> None:
    """The longest socket is Ray's, for the highest pid that Linux gives out."""
    for length in range(1, 120):
        run_dir = Path("/" + "x" * length)
        longest = max(len(str(run_dir / LONGEST)), len(str(run_dir / "replica-12345678.sock")))
        assert longest <= MAX_SOCKET_PATH_BYTES or not fits(run_dir)


def test_a_usual_state_directory_holds_its_own_run_directory() -> None:
    """A short home needs no folder elsewhere."""
    assert fits(Path("/home/shepherd/.shepherd/run"))


def test_data_lies_in_the_state_directory_and_sockets_in_the_run_directory() -> None:
    """What must survive and what must be short."""
    layout = Layout(Path("/state"), Path("/short"))
    lasting = (layout.redis_dir, layout.registry_dir, layout.cache_dir, layout.spool_dir, layout.policies_file)
    assert all(path.is_relative_to("/state") for path in (*lasting, layout.node_file, layout.logs_dir))
    assert all(path.is_relative_to("/short") for path in (layout.redis_socket, layout.ray_dir, layout.ray_token_file))
