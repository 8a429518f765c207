"""The model on BentoML: `bentoml serve loadtests.peers.apps.bentoml_app:Bench`, the file named by BENCH_MODEL."""

from __future__ import annotations

import os
from typing import Any

import bentoml

from loadtests.peers.apps.classify import Classifier, rows_of


@bentoml.service(workers=1)
class Bench:
    """One worker, as every contender has one."""

    def __init__(self) -> None:
        self._classifier = Classifier(os.environ["BENCH_MODEL"])  # noqa: TID251 - BentoML passes no arguments

    @bentoml.api(route="/v2/models/bench/infer")
    def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Answer one request."""
        return self._classifier.answer(self._classifier.run(rows_of({"inputs": inputs})))
