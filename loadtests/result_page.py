"""One page for each measurement, in `loadtests/results`: what was asked, what was found, and on which machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from loadtests.bench.machine import describe_command, describe_commit, describe_load, describe_machine

RESULTS: Final = Path(__file__).with_name("results")


class ProgressLog:
    """Tells who waits what is being done, and what was found so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def doing(self, text: str) -> None:
        """Replace the line beside the spinner."""
        self._progress.update(self._task, description=text)

    def found(self, text: str) -> None:
        """Print a line that stays."""
        self._progress.console.print(text, highlight=False, markup=False)


@contextmanager
def progress_shown(console: Console) -> Iterator[ProgressLog]:
    """Show progress for the length of a block."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield ProgressLog(progress)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table; all columns but the first hold numbers."""
    lines = [header, ["--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(title: str, *parts: str, load: str) -> str:
    """Put a page together; `load` is the machine's load average before the measurement."""
    origin = describe_origin(load, "Clients and gateway share the cores: read the ratios.")
    return "\n\n".join([f"# {title}", *parts, origin]) + "\n"


def describe_origin(load: str, how_to_read: str) -> str:
    """Write the last section of a page: command, commit, day and machine of its figures, and how to read them.

    To be called before anything is written into the checkout, which would mark the commit as changed.
    """
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items() if name != "wrk")
    return (
        f"## Where it comes from\n\n`{describe_command()}` at commit `{describe_commit()}` on "
        f"{datetime.now(UTC).date().isoformat()}, on {machine}; load average before it {load}. {how_to_read}"
    )


def publish(console: Console, text: str, name: str, *, is_kept: bool) -> None:
    """Print a page, and keep it among the results."""
    console.print(Markdown(text))
    if is_kept:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{datetime.now(UTC).date().isoformat()}-{name}.md").write_text(text, encoding="utf-8")


__all__ = ["ProgressLog", "describe_load", "describe_origin", "page", "progress_shown", "publish", "table"]
