"""How fast labels take the traffic: `python -m tests.measure_emergencies 10` writes docs/results/emergencies.md."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, Self

import httpx

from loadtests.result_page import describe_load, describe_origin
from tests.e2e.test_monitoring import RNG, answer_with, ask, counted, judged_versions
from tests.gateway import RunningGateway, eventually, running_gateway
from tests.steady import RATE, body

_PATIENCE_S: Final = 30.0
_PAGE: Final = Path("docs/results/emergencies.md")
_HEAD: Final = """\
# Time from the decisive label to no traffic

A whole gateway on one machine. A version of 90 % accuracy by its profile has all of the traffic, {rate} requests/s;
200 sound labels are in. Then one message brings 300 labels that contradict it, among them the one that makes it an
Emergency. Seconds from the message's 202, when its labels are in the stream, to the last answer of the version that a
client got (the goal is less than 5); 0.00 where that came before the 202 was read.

| fastest | median | slowest | all |
|---|---|---|---|
"""


class Answer(NamedTuple):
    """Who answered, and when (monotonic seconds)."""

    at: float
    version: str


class Clients:
    """Steady requests in a thread, one connection: enough to see who answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[Answer] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        request, due = body(0.7, width=1), time.monotonic()
        with httpx.Client(timeout=10.0) as client:
            while not self._stopping.is_set():
                answer = client.post(self._url, json=request)
                self.answers.append(Answer(time.monotonic(), answer.headers["x-shepherd-version"]))
                due += 1 / RATE
                time.sleep(max(0.0, due - time.monotonic()))


def recovery_s(gateway: RunningGateway, folder: Path, model: str) -> float:
    """Let one emergency happen to a model of its own."""
    judged_versions(gateway, folder, model)
    with httpx.Client(timeout=10.0) as client, Clients(f"{gateway.url}/v2/models/{model}/infer") as clients:
        eventually(lambda: clients.answers and clients.answers[-1].version == "2", what="the traffic to be there")
        sound, bad = RNG.random(200), RNG.random(300)
        asked = ask(gateway, client, [*sound, *bad], model)
        answer_with(gateway, client, asked[:200], sound >= 0.5, model)
        eventually(lambda: counted(gateway, 2, model).get("labelled") == 200, what="sound labels to be joined")
        answer_with(gateway, client, asked[200:], bad < 0.5, model)
        posted = time.monotonic()
        eventually(lambda: clients.answers[-1].version == "1", timeout_s=_PATIENCE_S, what="the traffic to be back")
        time.sleep(1.0)  # nobody flaps back
    took = max(0.0, max(answer.at for answer in clients.answers if answer.version == "2") - posted)
    print(f"{model}: {took:.2f} s", file=sys.stderr)
    return took


def main() -> None:
    """Measure, then write the page."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    origin = describe_origin(describe_load(), "Clients and gateway share the cores.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        home.mkdir()
        with running_gateway(folder / "state", home=home) as gateway:
            took = sorted(recovery_s(gateway, folder, f"judged-{number}") for number in range(runs))
    figures = (took[0], median(took), took[-1])
    cells = [*(f"{seconds:.2f}" for seconds in figures), " ".join(f"{each:.1f}" for each in took)]
    _PAGE.write_text(f"{_HEAD.format(rate=RATE)}| {' | '.join(cells)} |\n\n{origin}\n")


if __name__ == "__main__":
    main()
