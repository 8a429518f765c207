"""What the conformance kit calls, and what it makes of an answer."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

ROWS = np.random.default_rng(11).normal(size=(3, 16)).astype(np.float32)
"""What every client sends as `features` to the classifier of `tests.models.mlp`."""


class Target(NamedTuple):
    """A live gateway that serves one version of the classifier."""

    http: str
    """host:port"""
    grpc: str
    model: str
    expected: np.ndarray[Any, Any]
    """What onnxruntime itself answers to `ROWS`."""
    authorization: str = ""
    """A token that may load and unload; without one, that these are refused is what conforms."""
    key: str = ""
    """An API key that may do everything, where the gateway asks for one."""

    @property
    def headers(self) -> dict[str, str]:
        """What every request must bring."""
        return {"x-api-key": self.key} if self.key else {}


class Verdict(StrEnum):
    """How a method fared."""

    WORKS = "works"
    REFUSED = "refused with a reason"
    FAILS = "FAILS"


class Outcome(NamedTuple):
    """One line of the matrix."""

    client: str
    method: str
    verdict: Verdict
    remark: str = ""


class Check(NamedTuple):
    """How to call one method, and how its result looks when it is right."""

    call: Callable[[Any, Any, Target], Any]
    """Of client, its library and target; an awaitable from an async client."""
    is_right: Callable[[Any, Target], bool] = lambda _result, _target: True
    refusal: str = ""
    """Words of the reason where the method is refused on purpose."""


def judge(
    client: str, method: str, check: Check, target: Target, *, result: Any = None, error: Exception | None = None
) -> Outcome:
    """Hold what came back against what was meant to."""
    if check.refusal:
        if error is not None and check.refusal in str(error):
            return Outcome(client, method, Verdict.REFUSED, check.refusal)
        return Outcome(client, method, Verdict.FAILS, f"no clean refusal: {error or result}")
    if error is not None:
        return Outcome(client, method, Verdict.FAILS, str(error))
    if not check.is_right(result, target):
        return Outcome(client, method, Verdict.FAILS, f"wrong answer: {result}")
    return Outcome(client, method, Verdict.WORKS)
