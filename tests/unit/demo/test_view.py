"""What the demo shows, and where it reads it from."""

from __future__ import annotations

import io

from rich.console import Console

from demo.gateway_counts import LogAccounting, ShadowRow, read_log, read_shadows
from demo.tally import VariantRow
from demo.view import Scene, plain, render

SCENE = Scene(
    model="flight-delay",
    date="2013-03-14",
    rate=200.0,
    elapsed_s=83.0,
    variants=[
        VariantRow("stable", "1", 179.6, 0.898, 0.0012, 0.0021, 0.0044, 0, 14907),
        VariantRow("canary", "2", 20.4, 0.102, 0.0013, 0.0023, 0.0051, 3, 1693),
    ],
    missed=0,
    shadows=[ShadowRow("3", 3121, 3320, 4)],
    log=LogAccounting(16600, 16590, 6, 4),
    places=[("predict", "http://127.0.0.1:8000")],
)

SCRAPE = """\
# TYPE shepherd_shadow_comparisons counter
shepherd_shadow_comparisons_total{model="flight-delay",version="3",outcome="agree"} 90
shepherd_shadow_comparisons_total{model="flight-delay",version="3",outcome="disagree"} 10
shepherd_shadow_comparisons_total{model="other",version="3",outcome="agree"} 7
# TYPE shepherd_shadow_requests counter
shepherd_shadow_requests_total{model="flight-delay",version="3",outcome="dropped"} 2
shepherd_shadow_requests_total{model="flight-delay",version="3",outcome="ok"} 101
"""


def _drawn(scene: Scene) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(render(scene))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_picture_shows_every_variant_with_share_rate_latency_and_errors() -> None:
    """All that the two variants did is in the frame."""
    frame = _drawn(SCENE)

    for shown in ("stable v1", "89.8%", "179.6", "1.2", "2.1", "4.4", "canary v2", "10.2%", "94.0% of 3320", "✓"):
        assert shown in frame


def test_no_line_of_the_picture_is_wider_than_its_frame() -> None:
    """A broken frame is the first thing a visitor sees."""
    assert {len(line) for line in _drawn(SCENE).splitlines()} == {100}


def test_the_plain_line_is_one_line() -> None:
    """It goes to logs."""
    line = plain(SCENE)

    assert "\n" not in line
    assert "canary=20/s 10.2%" in line
    assert "errors=3" in line


def test_a_scene_before_the_first_answer_can_be_drawn() -> None:
    """Nothing is known in the first frame."""
    empty = SCENE._replace(variants=[], shadows=[], log=None)

    assert "flight-delay" in _drawn(empty)
    assert "log ?" in plain(empty)


def test_shadows_are_read_from_the_scrape_of_the_model_alone() -> None:
    """Another model's shadow does not count."""
    assert read_shadows(SCRAPE, "flight-delay") == [ShadowRow("3", agreed=90, compared=100, dropped=2)]


def test_books_that_do_not_balance_are_shown_as_such() -> None:
    """The identity is checked, not assumed."""
    accounting = read_log({"requests": 10, "logged": 7, "sampled_out": 1, "dropped": {"spool_full": 1}})

    assert not accounting.balanced
    assert "✗" in _drawn(SCENE._replace(log=accounting))
