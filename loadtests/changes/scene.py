"""What all measurements of a change share: a gateway, a model in it, and rounds under steady load."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from loadtests.model import build_classifier, random_rows, v2_json
from loadtests.result_page import ProgressLog, progress_shown
from loadtests.server import Gateway, ServerFailed

START_S: Final = 120.0
MODEL: Final = "changing"
PATH: Final = f"/v2/models/{MODEL}/infer"
_FEATURES: Final = 16
BODY: Final = v2_json(random_rows(1, _FEATURES))
#: An echo of one row of four: what a request for `register_echo` looks like.
ECHO_BODY: Final = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'


@contextmanager
def scene(console: Console, *settings: str) -> Iterator[tuple[Gateway, ProgressLog]]:
    """Start a gateway on an empty state directory; a measurement that cannot run ends the program with status 1."""
    try:
        with (
            progress_shown(console) as progress,
            tempfile.TemporaryDirectory(prefix="changes-", ignore_cleanup_errors=True) as folder,
        ):
            progress.doing("starting a gateway")
            with Gateway(Path(folder) / "state", *settings) as gateway:
                gateway.wait_for("/v2/health/ready", timeout_s=START_S)
                gateway.wait_until_operable(timeout_s=START_S)
                yield gateway, progress
    except ServerFailed as error:
        console.print(f"[red]could not run:[/] {error}", highlight=False)
        sys.exit(1)


def register_classifiers(gateway: Gateway, count: int, tags: dict[str, str] | None = None) -> None:
    """Register versions 1 to `count` of the small classifier, each with other weights."""
    example = v2_json(random_rows(1, _FEATURES))
    with gateway.admin() as admin:
        for seed in range(count):
            admin.register(MODEL, build_classifier(features=_FEATURES, seed=seed), example=example, tags=tags or {})


def register_echo(gateway: Gateway, tags: dict[str, str]) -> None:
    """Register a version whose answer is its input and that takes its time without using a core."""
    with gateway.admin() as admin:
        admin.register(MODEL, b"", tags={"shepherd.backend": "echo", **tags})


def serve(gateway: Gateway, version: int = 1) -> None:
    """Give the model's traffic to a version; return when it answers."""
    gateway.route(MODEL, ("stable", version, 10_000))
    gateway.wait_for(f"/v2/models/{MODEL}/ready", timeout_s=START_S)
