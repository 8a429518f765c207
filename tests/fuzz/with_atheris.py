"""One reader under atheris: `python -m tests.fuzz.with_atheris READER CORPUS [libFuzzer options]`. Does not return."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["serving.protocol", "serving.channel", "router.gateway"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]].read)
    atheris.Fuzz()
