"""The JSON documents of V2 inference, typed so that the parser itself refuses the wrong ones. Pure.

Depth needs no counting: the schema fixes it. Known members nest as far as their types do, `data` stays unparsed until
its rank is known, and members that the protocol does not know are skipped without being built, as Triton does.
Optional members may be null, since many clients print their unset ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from serving.protocol.errors import invalid
from serving.protocol.messages import Buffer, Parameter

Parameters = dict[str, Parameter] | None
Document = TypeVar("Document")

_NO_DATA: Final = msgspec.Raw()
_PATH: Final = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)


class InputMember(msgspec.Struct, gc=False):
    """One entry of `inputs`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters = None
    data: msgspec.Raw = _NO_DATA
    """The unparsed text of the member; empty when it is absent."""


class OutputMember(msgspec.Struct, gc=False):
    """One entry of a request's `outputs`."""

    name: str
    parameters: Parameters = None


class RequestDocument(msgspec.Struct, gc=False):
    """The body of `POST …/infer`, or its JSON header."""

    inputs: list[InputMember]
    id: str | None = None
    outputs: list[OutputMember] | None = None
    parameters: Parameters = None


class TensorMember(msgspec.Struct, gc=False, omit_defaults=True):
    """One entry of an answer's `outputs`: data here, or after the JSON with its size in `parameters`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, Parameter] | msgspec.UnsetType = msgspec.UNSET
    data: Sequence[object] | msgspec.UnsetType = msgspec.UNSET


class ResponseDocument(msgspec.Struct, gc=False, omit_defaults=True):
    """The body of an answer, or its JSON header."""

    model_name: str
    model_version: str
    outputs: list[TensorMember]
    id: str = ""
    parameters: dict[str, Parameter] = {}


_DECODER: Final = msgspec.json.Decoder(RequestDocument)
_ENCODER: Final = msgspec.json.Encoder()


def parse_request(text: Buffer) -> RequestDocument:
    """Parse a request's JSON, leaving each `data` unparsed; raises as `parse`."""
    return parse(_DECODER, text, "request")


def parse(decoder: msgspec.json.Decoder[Document], text: Buffer | msgspec.Raw, root: str) -> Document:
    """Parse JSON that lies at `root` of the request.

    Raises:
        ServingError: INVALID for wrong syntax, types or encoding, missing members and bottomless nesting.
    """
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise invalid(_explain(error, root)) from None
    except UnicodeDecodeError:  # also of a text whose syntax has passed: skipping does not look inside strings
        raise invalid(f"{root}: the JSON is not UTF-8") from None
    except RecursionError:
        raise invalid(f"{root}: the JSON is nested too deeply") from None


print_json: Final = _ENCODER.encode
"""Prints any value as compact JSON."""


def print_response(document: ResponseDocument) -> bytes:
    """Print an answer as compact JSON."""
    return print_json(document)


def _explain(error: msgspec.DecodeError, root: str) -> str:
    """Put the place before the complaint, as all our messages have it: `inputs[0].shape[1]: Expected ...`."""
    text = str(error)
    found = _PATH.search(text)
    if found is None:
        return f"{root}: {text}"
    path = found[1]
    place = f"{root}{path}" if path.startswith("[") else path or root
    return f"{place}: {text[: found.start()]}"
