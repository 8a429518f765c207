"""Imported by each of Ray's worker processes as it starts, before it is told what to run: what all of them need.

Ray starts a few workers ahead of demand, so these imports overlap with the start of what they will wait for.
"""

from __future__ import annotations

import sys

# Where pandas is installed, Ray Serve imports it, to encode data frames in answers of a proxy that we do not run. That
# is 0.8 s of CPU and 40 MB in each process. Where pandas is missing, Ray Serve does without, and so it does now.
if "pandas" not in sys.modules:
    sys.modules["pandas"] = None  # type: ignore[assignment]

import ray.serve  # noqa: F401
