"""How the reason why a replica could not start travels through Ray Serve, which passes on text only. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from serving.protocol.errors import ErrorKind, ServingError

_PROCESS_DIED: Final = "ActorDiedError"
_BY_AN_EXCEPTION: Final = "error raised in its creation task"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class LoadFailed(Exception):
    """A version could not be loaded, warmed or checked; its text is the reason, as one JSON string."""

    def __init__(self, reason: str) -> None:
        super().__init__(msgspec.json.encode(reason).decode())


class LoadDelayed(LoadFailed):
    """It could not be loaded because something that it needs is away: any later attempt may succeed."""


_MARK = re.compile(rf'(?:{LoadFailed.__name__}|{LoadDelayed.__name__}): ("(?:[^"\\\n]|\\.)*")')
_DELAYED_MARK: Final = f'{LoadDelayed.__name__}: "'


def describe(error: BaseException) -> str:
    """Say in one line what went wrong; what is no failure of ours is named by its type."""
    text = " ".join(str(error).split())
    ours = type(error).__module__.startswith("serving.")
    return text if ours and text else f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_final(message: str) -> bool:
    """Tell whether another attempt would end the same way: yes for what the replica itself found wrong."""
    return bool(_MARK.search(message)) and not is_delayed(message)


def is_delayed(message: str) -> bool:
    """Tell whether it was not the version that failed, but something that it needs and that may come back."""
    return _DELAYED_MARK in message


def load_failure(error: BaseException) -> LoadFailed:
    """Make of whatever ended a load what Ray Serve is to pass on."""
    is_away = isinstance(error, ServingError) and error.kind is ErrorKind.UNAVAILABLE
    return (LoadDelayed if is_away else LoadFailed)(describe(error))


def read_reason(message: str) -> str:
    """Find the reason in what Ray Serve says of a deployment that did not start."""
    marked = _MARK.findall(message)
    if marked:
        return str(msgspec.json.decode(marked[-1]))
    if _PROCESS_DIED in message and _BY_AN_EXCEPTION not in message:
        return "its process died while loading: out of memory, or a crash in native code; its log may say more"
    lines = [line.strip() for line in _COLOUR.sub("", message).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
