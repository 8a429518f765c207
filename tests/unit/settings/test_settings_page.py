"""docs/settings.md shows every setting as the code has it, and its sample is a valid file."""

from __future__ import annotations

from pathlib import Path

from router.settings_fields import KEYS
from router.settings_page import GROUPS, SAMPLE, render_page
from router.settings_sources import parse_file, resolve, variable_of

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_shows_these_settings() -> None:
    """docs/settings.md is generated: python -m router.settings_page > docs/settings.md."""
    assert PAGE.read_text(encoding="utf-8") == render_page()


def test_every_group_begins_with_a_setting_and_every_setting_is_in_a_group() -> None:
    """A renamed setting does not dissolve its group."""
    assert set(GROUPS) <= set(KEYS)
    assert KEYS[0] in GROUPS


def test_the_sample_is_a_settings_file() -> None:
    """Each line of it is heeded."""
    file = parse_file(SAMPLE, "sample.yaml")
    resolved = resolve({}, {"HOME": "/home/shepherd"}, file, cwd=Path("/"), file_name="sample.yaml")

    assert {key for key, origin in resolved.origins.items() if origin == "sample.yaml"} == set(file)


def test_every_variable_on_the_page_is_read() -> None:
    """Under the name that the page gives it."""
    for key in ("state_dir", "http_port", "retrain_authorization"):
        value = "8123" if key == "http_port" else "/somewhere"
        resolved = resolve({}, {variable_of(key): value, "HOME": "/home/shepherd"}, {}, cwd=Path("/"))

        assert resolved.origins[key] == variable_of(key)


def test_no_table_cell_holds_a_bar() -> None:
    """It would end the cell."""
    rows = [line for line in render_page().splitlines() if line.startswith("| `")]

    assert len(rows) == len(KEYS)
    assert all(line.count("|") == 6 for line in rows)
