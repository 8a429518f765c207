"""Contenders under load in turn: each round measures every contender at every number of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime

from loadtests.bench.findings import Comparison, Sample
from loadtests.bench.wrk import Load, run_wrk
from loadtests.model import INPUT, build_classifier, random_rows, v2_json
from loadtests.server import Server, ServerFailed

MODEL: Final = "bench"
PATH: Final = f"/v2/models/{MODEL}/infer"

_FEATURES: Final = 16
#: Users whose requests take turns: enough for a split by user to be seen, few enough for processor caches.
_USERS: Final = 512
_WARM_UP_S: Final = 1


class Material:
    """The model and the requests, as files, and the answers that every contender has to give."""

    def __init__(self, folder: Path) -> None:
        rows = random_rows(_USERS, _FEATURES)
        self.model = folder / "model.onnx"
        self.model.write_bytes(build_classifier(features=_FEATURES))
        self.example = folder / "example.json"
        self.request = v2_json(rows[:1])
        self.example.write_bytes(self.request)
        self.bodies = folder / "bodies.jsonl"
        self.bodies.write_bytes(b"".join(v2_json(row[None]) + b"\n" for row in rows))
        self._expected: npt.NDArray[np.float32] = onnxruntime.InferenceSession(self.model).run(None, {INPUT: rows[:1]})[
            0
        ]

    def check(self, contender: str, server: Server) -> None:
        """Ask once and compare with onnxruntime here.

        Raises:
            ServerFailed: the answer is another; its speed would mean nothing.
        """
        status, answer = server.request(PATH, self.request)
        if status != 200:
            raise ServerFailed(f"{contender} answers {status}: {answer[:300]!r}")
        given = msgspec.json.decode(answer)["outputs"][0]["data"]
        if not np.allclose(np.ravel(given), self._expected.ravel(), atol=1e-5):
            raise ServerFailed(f"{contender} answers {given}, onnxruntime {self._expected.tolist()}")


class Contest:
    """How to measure: how often, how long, how wide."""

    def __init__(
        self,
        material: Material,
        *,
        rounds: int,
        seconds: int,
        connections: Sequence[int],
        report: Callable[[str], None],
    ) -> None:
        self._material = material
        self._rounds = rounds
        self._seconds = seconds
        self._connections = connections
        self._report = report

    def run(self, title: str, contenders: Mapping[str, Server]) -> Comparison:
        """Measure contenders, the first of which is the baseline.

        Raises:
            ServerFailed: a contender answers wrongly.
            LoadFailed: a request was refused or lost.
        """
        for contender, server in contenders.items():
            self._warm_up(contender, server)
        samples = [
            self._measure(contender, contenders[contender], connections, turn)
            for turn in range(self._rounds)
            for connections in self._connections
            for contender in _rotated(list(contenders), turn)
        ]
        return Comparison(title, next(iter(contenders)), tuple(samples))

    def measure(self, contender: str, server: Server, turn: int) -> list[Sample]:
        """Measure one contender that runs alone, in one round.

        Raises:
            ServerFailed: it answers wrongly.
            LoadFailed: a request was refused or lost.
        """
        self._warm_up(contender, server)
        return [self._measure(contender, server, connections, turn) for connections in self._connections]

    def _warm_up(self, contender: str, server: Server) -> None:
        self._material.check(contender, server)
        self._load(server, max(self._connections), _WARM_UP_S)

    def _measure(self, contender: str, server: Server, connections: int, turn: int) -> Sample:
        load = self._load(server, connections, self._seconds)
        self._report(
            f"round {turn + 1}/{self._rounds}  {connections:>3} connections  {contender:<18}"
            f"{load.requests_per_s:>9,.0f} requests/s  p50 {load.p50_us / 1e3:.3f} ms  p99 {load.p99_us / 1e3:.3f} ms"
        )
        return Sample(contender, connections, turn, load.requests_per_s, load.p50_us / 1e3, load.p99_us / 1e3)

    def _load(self, server: Server, connections: int, seconds: int) -> Load:
        url = f"http://127.0.0.1:{server.port}{PATH}"
        return run_wrk(url, self._material.bodies, connections=connections, seconds=seconds)


def _rotated(names: list[str], turn: int) -> list[str]:
    # Who goes first in a round meets another machine than who goes last: take turns.
    start = turn % len(names)
    return names[start:] + names[:start]
