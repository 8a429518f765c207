"""Imported by each of Ray's worker processes as it starts, before it is told what to run: what all of them need.

Ray starts a few workers ahead of demand, so these imports overlap with the start of what they will wait for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from serving.deployment.idle_start import idle_start


class _WithoutPandas(MetaPathFinder):
    """Says that pandas is not installed.

    Where it is, Ray Serve imports it, to encode data frames in answers of a proxy that we do not run, and pyarrow, to
    know its types when it sees them. That is 0.8 s of CPU and 40 MB in each process. Where pandas is missing, both do
    without, and so they do now. None in `sys.modules` would be simpler, but compiled modules take that for a module.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse pandas; know nothing of all else."""
        if name == "pandas":
            raise ModuleNotFoundError("no process of the gateway has pandas", name=name)
        return None


sys.meta_path.insert(0, _WithoutPandas())

# Each worker that is put to work has the next one started, beside what serves.
with idle_start():
    import ray.serve  # noqa: F401
