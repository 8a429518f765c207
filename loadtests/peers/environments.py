"""An environment of its own for each peer, made when missing: their pins and ours need not agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_FOLDER: Final = _ROOT / ".peers"

#: The releases that the committed figures are of.
PACKAGES: Final = {
    "litserve": ("litserve==0.2.*", "onnxruntime==1.22.*", "numpy<3"),
    "bentoml": ("bentoml==1.4.*", "onnxruntime==1.22.*", "numpy<3"),
    "mlserver": ("mlserver==1.7.*", "onnxruntime==1.22.*", "numpy<3"),
}


class NoEnvironment(Exception):
    """A peer could not be installed."""


def environment(peer: str) -> Path:
    """Return the folder of the programs of a peer's environment.

    Raises:
        NoEnvironment: its packages cannot be installed here.
    """
    folder = _FOLDER / peer
    programs = folder / "bin"
    if (folder / "complete").exists():
        return programs
    print(f"installing {peer} into {folder.relative_to(_ROOT)}", flush=True)
    for command in (
        ["uv", "venv", "--quiet", "--clear", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", folder],
        ["uv", "pip", "install", "--quiet", "--python", programs / "python", *PACKAGES[peer]],
    ):
        ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise NoEnvironment(f"{peer} cannot be installed: {ended.stderr.strip()[-500:]}")
    (folder / "complete").touch()
    return programs
