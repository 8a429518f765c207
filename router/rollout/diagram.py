"""The phase table as a page with a diagram: `python -m router.rollout.diagram > docs/rollout-phases.md`. Pure."""

from __future__ import annotations

import sys

from router.rollout.phase import TERMINAL, TRANSITIONS

_HEAD = """\
<!-- Generated: python -m router.rollout.diagram > docs/rollout-phases.md -->
# Phases of a rollout

What is not an arrow here cannot happen: the controller moves by the same table (`router/rollout/phase.py`).

```mermaid
stateDiagram-v2
    [*] --> pending
"""


def render_page() -> str:
    """Return the page."""
    ways_on = [(phase, event, after) for phase, ways in TRANSITIONS.items() for event, after in ways.items()]
    arrows = [f"    {phase} --> {after}: {event}" for phase, event, after in ways_on]
    ends = [f"    {phase} --> [*]" for phase in TRANSITIONS if phase in TERMINAL]
    rows = [
        f"| {phase} | " + (", ".join(f"{event} → {after}" for event, after in ways.items()) or "the end") + " |"
        for phase, ways in TRANSITIONS.items()
    ]
    table = "\n".join(["| phase | ways on |", "|---|---|", *rows])
    return _HEAD + "\n".join([*arrows, *ends]) + "\n```\n\n" + table + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_page())
