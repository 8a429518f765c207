"""The live view: what the demo knows at one moment, as a picture for a terminal or as one plain line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.gateway_counts import LogAccounting, ShadowRow
from demo.tally import VariantRow

_BAR_CELLS = 24


class Scene(NamedTuple):
    """Everything that one frame shows."""

    model: str
    date: str
    """The day that is replayed."""
    rate: float
    """Requests per second that fall due."""
    elapsed_s: float
    variants: Sequence[VariantRow]
    missed: int
    shadows: Sequence[ShadowRow]
    log: LogAccounting | None
    """None until the admin API answered once."""
    places: Sequence[tuple[str, str]]
    """Names and addresses to go to from here."""


def render(scene: Scene) -> RenderableType:
    """Draw a frame."""
    return Panel(
        Group(_header(scene), _variants(scene.variants), _facts(scene)),
        title="[bold]Model Shepherd[/]",
        subtitle="[dim]Ctrl-C ends it[/]",
        box=box.ROUNDED,
        border_style="green",
        padding=(1, 2),
        width=100,
    )


def plain(scene: Scene) -> str:
    """Say the same in one line, for logs and pipes."""
    variants = "  ".join(
        f"{row.variant}={row.per_second:.0f}/s {row.share:.1%} p50={_ms(row.p50_s)} p99={_ms(row.p99_s)} "
        f"errors={row.errors}"
        for row in scene.variants
    )
    shadows = "  ".join(f"shadow v{row.version} agrees={_agreement(row)}" for row in scene.shadows)
    log = f"log {_balance(scene.log)}" if scene.log else "log ?"
    return "  ".join(part for part in (f"{scene.elapsed_s:5.0f}s {scene.date}", variants, shadows, log) if part)


def _header(scene: Scene) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    minutes, seconds = divmod(int(scene.elapsed_s), 60)
    grid.add_row(
        Text.assemble((scene.model, "bold cyan"), "  flights of ", (scene.date, "bold")),
        Text(f"{scene.rate:.0f} requests/s due · {minutes:02}:{seconds:02}", style="dim"),
    )
    return grid


def _variants(rows: Sequence[VariantRow]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, header_style="dim")
    table.add_column("variant")
    table.add_column("share of traffic", min_width=_BAR_CELLS + 8)
    for name in ("requests/s", "p50 ms", "p95 ms", "p99 ms", "errors"):
        table.add_column(name, justify="right")
    for row, color in zip(rows, _colors(len(rows)), strict=True):
        table.add_row(
            Text.assemble((row.variant, f"bold {color}"), (f" v{row.version}" if row.version else "", "dim")),
            Text.assemble((_bar(row.share), color), f" {row.share:6.1%}"),
            f"{row.per_second:.1f}",
            *(_ms(seconds) for seconds in (row.p50_s, row.p95_s, row.p99_s)),
            Text(str(row.errors), style="bold red" if row.errors else "dim"),
        )
    return table


def _facts(scene: Scene) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=8)
    grid.add_column()
    for row in scene.shadows:
        grid.add_row(
            "shadow",
            Text.assemble(
                (f"v{row.version}", "bold magenta"),
                f" agrees in {_agreement(row)} of {row.compared} comparisons",
                (f"  ({row.dropped} not mirrored)" if row.dropped else "", "yellow"),
            ),
        )
    if scene.log:
        grid.add_row(
            "log", Text.assemble(_balance(scene.log), ("  ✓", "green") if scene.log.balanced else ("  ✗", "red"))
        )
    if scene.missed:
        grid.add_row("missed", Text(f"{scene.missed} requests fell due and could not be sent", style="red"))
    for name, address in scene.places:
        grid.add_row(name, Text(address, style="dim"))
    return grid


def _bar(share: float) -> str:
    """Draw a share of `_BAR_CELLS`, in eighths of a cell."""
    eighths = round(share * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[rest] * (rest > 0)).ljust(_BAR_CELLS)


def _colors(count: int) -> list[str]:
    palette = ("cyan", "yellow", "blue", "red")
    return [palette[index % len(palette)] for index in range(count)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _agreement(row: ShadowRow) -> str:
    return f"{row.agreed / row.compared:.1%}" if row.compared else "?"


def _balance(log: LogAccounting) -> str:
    return f"{log.requests} requests = {log.logged} logged + {log.sampled_out} sampled out + {log.dropped} dropped"
