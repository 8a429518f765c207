"""Mistakes in a document, named by the field they are in. Pure."""

from __future__ import annotations

import re

from serving.protocol.errors import ServingError, invalid

# msgspec says "Expected `int`, got `str` - at `$.variants[1].weight`"; we put the field first.
_LOCATED = re.compile(r"(?P<what>.*) - at `(?:key` in `)?\$\.?(?P<path>[^`]*)`", re.DOTALL)
_FIELD_MISTAKE = re.compile(r"Object (?P<mistake>contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)


def field_error(message: str, whole: str) -> ServingError:
    """Turn the message of a `msgspec.ValidationError` into an INVALID that starts with the field at fault.

    `whole` names the document for mistakes that no field of it makes.
    """
    located = _LOCATED.fullmatch(message)
    what, path = (located["what"], located["path"]) if located else (message, "")
    if mistake := _FIELD_MISTAKE.fullmatch(what):
        path = f"{path}.{mistake['field']}".removeprefix(".")
        what = "is required" if mistake["mistake"] == "missing required" else "unknown field"
    elif what.startswith("Expected `str` matching regex"):  # names are the only strings with a pattern
        what = "must be 1-128 of A-Z a-z 0-9 _ . - and start with a letter or digit"
    return invalid(f"{path or whole}: {what[:1].lower()}{what[1:]}")
