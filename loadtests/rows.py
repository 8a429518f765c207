"""What load test users ask about: flights of 2013 where the model takes them, rows drawn at random otherwise."""

from __future__ import annotations

import http.client
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np
import numpy.typing as npt

from loadtests.model import random_rows
from serving.protocol.messages import TensorSpec

#: Rows kept: more than a short run sends, few enough to prepare in a moment.
_COUNT = 5000


class Subject(NamedTuple):
    """A model to ask, and what to ask it."""

    model: str
    input_name: str
    rows: npt.NDArray[np.float32]
    """[rows, features]"""
    keys: list[str]
    """Who asks, one per row: the sticky key of the split. Customers come back, as they do in life."""


def read_subject(host: str, model: str) -> Subject:
    """Ask the gateway at `host` what `model` takes, and find rows of that width.

    Raises:
        OSError: the gateway does not answer.
        ValueError: it has no such model, or one that these users cannot play.
    """
    match _metadata(host, model).inputs:
        case (TensorSpec(name=name, datatype="FP32", shape=(_, features)),) if features > 0:
            rows, keys = _flights(features) or _random(features)
            return Subject(model, name, rows, keys)
        case inputs:
            raise ValueError(f"{model} takes {inputs}; these users speak to models of one FP32 input [-1, features]")


class _Metadata(msgspec.Struct):
    inputs: tuple[TensorSpec, ...]


def _metadata(host: str, model: str) -> _Metadata:
    connection = http.client.HTTPConnection(urlsplit(host).netloc, timeout=10)
    try:
        connection.request("GET", f"/v2/models/{model}")
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"{host} has no metadata of {model}: {response.status} {content[:200]!r}")
    return msgspec.json.decode(content, type=_Metadata)


def _flights(features: int) -> tuple[npt.NDArray[np.float32], list[str]] | None:
    try:
        from demo.flights import FEATURES, data_folder, read_flights

        if features != len(FEATURES):
            return None
        flights = read_flights(data_folder())
    except ImportError:  # the extra `demo` is not installed; PackageNotFoundError is one of these
        return None
    return flights.features[:_COUNT], flights.customer[:_COUNT].tolist()


def _random(features: int) -> tuple[npt.NDArray[np.float32], list[str]]:
    return random_rows(_COUNT, features), [f"user-{row % 500}" for row in range(_COUNT)]
